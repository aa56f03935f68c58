"""Trains the toy: each update is one step of Adam.

resident uint8 digits --> encoder --> code --> decoder --> reconstruction
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from algorithms.generative.trainer import GenerativeTrainer, step
from toy.losses import code_loss, reconstruction_loss
from toy.networks import NUM_PIXELS, Autoencoder, initialize
from toy.options import ToyOptions
from toy.sampling import draw, noise


class ToyTrainer(GenerativeTrainer[ToyOptions, Autoencoder]):
    """A toy in training."""

    metrics = ("reconstruction_loss", "code_loss")

    def build(
        self, init: torch.Generator
    ) -> tuple[Autoencoder, dict[str, nn.Module | torch.optim.Optimizer]]:
        """Return the network and its optimizer."""
        network = Autoencoder(self.options.latent_size)
        initialize(network, init)
        self.placed(network)
        self.optimizer = torch.optim.Adam(network.parameters(), self.options.lr)
        return network, {"optimizer": self.optimizer}

    def update(self) -> Tensor:
        """Do one step; return both losses."""
        pixels_BP = self.digits[self.minibatches.next()].view(-1, NUM_PIXELS).float() / 255
        with self.autocast():
            code_BZ, reconstruction_BP = self.network(pixels_BP)
        losses = torch.stack(
            [reconstruction_loss(pixels_BP, reconstruction_BP.float()), code_loss(code_BZ.float())]
        )
        step(self.optimizer, losses.sum())
        return losses.detach()

    def sample(self, network: Autoencoder, num: int, generator: torch.Generator) -> tuple[Tensor, None]:
        """Draw `num` digits, without labels."""
        return draw(network, noise(num, self.options.latent_size, generator)), None
