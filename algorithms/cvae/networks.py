"""A conditional VAE: q(z|x,y), p(x|z,y) and p(z|y). Kingma & Welling 2014; conditioned on y as in Sohn+ 2015.

B batch, Z latent size, P 784 pixels, C 10 classes. A one-hot label joined to a layer's input adds one row of
weights per class to its output, so it is computed as an embedding. Architecture mlp, width 400 and depth 2
give the layers of the reference setting."""

import math

import torch
from torch import Tensor, nn

from algorithms.cvae.options import CVAEOptions
from algorithms.cvae.priors import NUM_CLASSES, Coupling, FlowPrior, GaussianPrior

SIDE, NUM_PIXELS = 28, 28 * 28


class Conditioned(nn.Module):
    """A linear layer of [input, one-hot label]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.label = nn.Embedding(NUM_CLASSES, outputs)

    def forward(self, x_BI: Tensor, label_B: Tensor) -> Tensor:
        """Return [B, outputs]."""
        y_BO: Tensor = self.linear(x_BI) + self.label(label_B)
        return y_BO


class MLP(nn.Module):
    """[B, inputs] and labels to [B, outputs], through `depth` hidden layers of `width`."""

    def __init__(self, inputs: int, outputs: int, width: int, depth: int) -> None:
        super().__init__()
        self.first = Conditioned(inputs, width)
        hidden = [layer for _ in range(depth - 1) for layer in (nn.ReLU(), nn.Linear(width, width))]
        self.rest = nn.Sequential(*hidden, nn.ReLU(), nn.Linear(width, outputs))

    def forward(self, x_BI: Tensor, label_B: Tensor) -> Tensor:
        """Return [B, outputs]."""
        y_BO: Tensor = self.rest(self.first(x_BI, label_B))
        return y_BO


class ResidualBlock(nn.Module):
    """x + conv(silu(conv(silu(x)))): He+ 2016 (arXiv:1603.05027), without normalisation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the shape of its input."""
        y_BCHW: Tensor = x_BCHW + self.layers(x_BCHW)
        return y_BCHW


class ConvEncoder(nn.Module):
    """[B, P] and labels to [B, outputs]: 28 -> 14 -> 7, residual blocks, one hidden layer with the label."""

    def __init__(self, outputs: int, width: int, depth: int) -> None:
        super().__init__()
        half, full = width // 16, width // 8
        self.convs = nn.Sequential(
            nn.Unflatten(1, (1, SIDE, SIDE)),
            nn.Conv2d(1, half, 4, stride=2, padding=1), nn.SiLU(),
            nn.Conv2d(half, full, 4, stride=2, padding=1),
            *(ResidualBlock(full) for _ in range(depth)),
            nn.SiLU(), nn.Flatten(),
        )  # fmt: skip
        self.hidden = Conditioned(7 * 7 * full, width)
        self.last = nn.Sequential(nn.SiLU(), nn.Linear(width, outputs))

    def forward(self, pixels_BP: Tensor, label_B: Tensor) -> Tensor:
        """Return [B, outputs]."""
        y_BO: Tensor = self.last(self.hidden(self.convs(pixels_BP), label_B))
        return y_BO


class ConvDecoder(nn.Module):
    """[B, Z] and labels to logits [B, P]: 7 -> 14 -> 28.

    The last layer is a sub-pixel convolution (Shi+ 2016, arXiv:1609.05158): its four channels at 14 x 14 are
    the four pixels of each 2 x 2. A transposed convolution to one channel takes four times as long on a
    processor.
    """

    def __init__(self, latent_size: int, width: int, depth: int) -> None:
        super().__init__()
        half, full = width // 16, width // 8
        self.hidden = Conditioned(latent_size, width)
        self.convs = nn.Sequential(
            nn.SiLU(), nn.Linear(width, 7 * 7 * full), nn.Unflatten(1, (full, 7, 7)),
            *(ResidualBlock(full) for _ in range(depth)),
            nn.SiLU(), nn.ConvTranspose2d(full, half, 4, stride=2, padding=1),
            nn.SiLU(), nn.Conv2d(half, 4, 3, padding=1), nn.PixelShuffle(2), nn.Flatten(),
        )  # fmt: skip

    def forward(self, z_BZ: Tensor, label_B: Tensor) -> Tensor:
        """Return [B, P]."""
        logits_BP: Tensor = self.convs(self.hidden(z_BZ, label_B))
        return logits_BP


class CVAE(nn.Module):
    """The three distributions: `posterior`, `logits`, and the module `prior`."""

    def __init__(self, options: CVAEOptions) -> None:
        super().__init__()
        self.latent_size, width, depth = options.latent_size, options.width, options.depth
        if options.architecture == "conv":
            self.encoder: nn.Module = ConvEncoder(2 * self.latent_size, width, depth)
            self.decoder: nn.Module = ConvDecoder(self.latent_size, width, depth)
        else:
            self.encoder = MLP(NUM_PIXELS, 2 * self.latent_size, width, depth)
            self.decoder = MLP(self.latent_size, NUM_PIXELS, width, depth)
        if options.prior == "flow":
            self.prior: FlowPrior | GaussianPrior = FlowPrior(self.latent_size)
        else:
            self.prior = GaussianPrior(self.latent_size, learned=options.prior == "learned")

    def posterior(self, pixels_BP: Tensor, label_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of q(z|x,y), [B, Z] each, float32."""
        mean_BZ, log_var_BZ = self.encoder(pixels_BP, label_B).float().chunk(2, dim=1)
        return mean_BZ, log_var_BZ

    def logits(self, z_BZ: Tensor, label_B: Tensor) -> Tensor:
        """Return the logits of p(x|z,y), [B, P], float32."""
        logits_BP: Tensor = self.decoder(z_BZ, label_B).float()
        return logits_BP


def initialize(network: CVAE, generator: torch.Generator) -> None:
    """Draw weights uniformly from +-1 / sqrt(inputs), as torch does by default, and set biases to zero.

    A residual block's last convolution and a coupling's last layer start at zero, so both start as the
    identity (a coupling up to its shuffle). A label's mean and log variance start at zero: N(0, I).
    """
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            transposed = isinstance(module, nn.ConvTranspose2d)
            inputs = module.weight[:, 0].numel() // 4 if transposed else module.weight[0].numel()
            _draw(module.weight, inputs, generator)
            assert module.bias is not None
            nn.init.zeros_(module.bias)
    for module in network.modules():
        if isinstance(module, Conditioned):
            inputs = module.linear.in_features + NUM_CLASSES
            _draw(module.linear.weight, inputs, generator)
            _draw(module.label.weight, inputs, generator)
        elif isinstance(module, ResidualBlock):
            nn.init.zeros_(module.layers[-1].weight)  # type: ignore[arg-type]
        elif isinstance(module, Coupling):
            _draw(module.label.weight, module.kept + NUM_CLASSES, generator)
            nn.init.zeros_(module.last.weight)
        elif isinstance(module, GaussianPrior) and module.parameters_of_label is not None:
            nn.init.zeros_(module.parameters_of_label.weight)


def _draw(weight: Tensor, inputs: int, generator: torch.Generator) -> None:
    nn.init.uniform_(weight, -1 / math.sqrt(inputs), 1 / math.sqrt(inputs), generator=generator)
