"""The toy's network. B batch, Z latent size, P 784 pixels."""

import torch
from torch import Tensor, nn

NUM_PIXELS = 28 * 28


class Autoencoder(nn.Module):
    """A linear layer to the code, and one back."""

    def __init__(self, latent_size: int) -> None:
        super().__init__()
        self.encoder = nn.Linear(NUM_PIXELS, latent_size)
        self.decoder = nn.Linear(latent_size, NUM_PIXELS)

    def forward(self, pixels_BP: Tensor) -> tuple[Tensor, Tensor]:
        """Return the codes [B, Z] and the reconstructions [B, P]."""
        code_BZ = self.encoder(pixels_BP)
        return code_BZ, self.decoder(code_BZ).sigmoid()


def initialize(network: Autoencoder, generator: torch.Generator) -> None:
    """Draw the weights from N(0, 0.05^2); biases are 0."""
    for layer in (network.encoder, network.decoder):
        nn.init.normal_(layer.weight, std=0.05, generator=generator)
        nn.init.zeros_(layer.bias)
