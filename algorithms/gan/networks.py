"""DCGAN, after Radford+ 2015 (arXiv:1511.06434): transposed convolutions up, convolutions and pooling down.

B batch, Z latent size. Width 32 gives the layers of the reference setting."""

import torch
from torch import Tensor, nn


class Generator(nn.Module):
    """Noise [B, Z] to images [B, 1, 28, 28] in (-1, 1)."""

    def __init__(self, latent_size: int, width: int) -> None:
        super().__init__()
        hidden, channels = 32 * width, 4 * width
        self.layers = nn.Sequential(
            nn.Linear(latent_size, hidden), nn.ReLU(), nn.BatchNorm1d(hidden),
            nn.Linear(hidden, 7 * 7 * channels), nn.ReLU(), nn.BatchNorm1d(7 * 7 * channels),
            nn.Unflatten(1, (channels, 7, 7)),
            nn.ConvTranspose2d(channels, 2 * width, kernel_size=4, stride=2, padding=1),
            nn.ReLU(), nn.BatchNorm2d(2 * width),
            nn.ConvTranspose2d(2 * width, 1, kernel_size=4, stride=2, padding=1), nn.Tanh(),
        )  # fmt: skip

    def forward(self, noise_BZ: Tensor) -> Tensor:
        """Return images [B, 1, 28, 28]."""
        images: Tensor = self.layers(noise_BZ)
        return images


class Discriminator(nn.Module):
    """Images [B, 1, 28, 28] to logits [B]. Without batch normalisation, real and fake may share a batch.

    Pooling before LeakyReLU gives the same numbers as after it, because LeakyReLU keeps order, for a quarter
    of the work.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, kernel_size=5), nn.MaxPool2d(2), nn.LeakyReLU(0.01),
            nn.Conv2d(width, 2 * width, kernel_size=5), nn.MaxPool2d(2), nn.LeakyReLU(0.01),
            nn.Flatten(), nn.Linear(4 * 4 * 2 * width, 32 * width), nn.LeakyReLU(0.01),
            nn.Linear(32 * width, 1),
        )  # fmt: skip

    def forward(self, images_B1HW: Tensor) -> Tensor:
        """Return logits [B]."""
        logits: Tensor = self.layers(images_B1HW)
        return logits.squeeze(1)


def initialize(network: nn.Module, generator: torch.Generator) -> None:
    """Draw weights as Glorot & Bengio 2010 do (uniform Xavier), and set biases to zero."""
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.xavier_uniform_(module.weight, generator=generator)
            assert module.bias is not None
            nn.init.zeros_(module.bias)
