"""Trains a DCGAN: each update is a step of the discriminator and one of the generator, on the same fakes.

Goodfellow+ 2014, algorithm 1.

               noise --> generator --> fakes --+--> (no gradient) --> discriminator's step on real + fake
    resident uint8 digits --> real ------------|--------------------> ^
                                               +--> discriminator, weights frozen --> generator's step

It is fast for five reasons: digits are gathered on the device, both steps share the fakes, real and fake pass
the discriminator as one batch, the frozen discriminator collects no gradients, and matrices are multiplied in
bf16 where the device can."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from algorithms.gan.losses import LOSSES
from algorithms.gan.networks import Discriminator, Generator, initialize
from algorithms.gan.options import GANOptions
from algorithms.gan.sampling import draw, noise
from algorithms.generative.trainer import GenerativeTrainer, step


class GANTrainer(GenerativeTrainer[GANOptions, Generator]):
    """A DCGAN in training. Samples are drawn from the averaged generator."""

    metrics = ("discriminator_loss", "generator_loss", "real_probability", "fake_probability")
    network_name = "generator"

    def build(self, init: torch.Generator) -> tuple[Generator, dict[str, nn.Module | torch.optim.Optimizer]]:
        """Return the generator, and the discriminator with both optimizers."""
        options = self.options
        self.generator = Generator(options.latent_size, options.width)
        self.discriminator = Discriminator(options.width)
        for network in (self.generator, self.discriminator):
            initialize(network, init)
            self.placed(network)
        betas = (options.beta1, options.beta2)
        self.generator_optimizer = torch.optim.Adam(
            self.generator.parameters(), options.generator_lr, betas, fused=True
        )
        self.discriminator_optimizer = torch.optim.Adam(
            self.discriminator.parameters(), options.discriminator_lr, betas, fused=True
        )
        self._discriminator_loss, self._generator_loss = LOSSES[options.loss]
        return self.generator, {
            "discriminator": self.discriminator,
            "generator_optimizer": self.generator_optimizer,
            "discriminator_optimizer": self.discriminator_optimizer,
        }

    def update(self) -> Tensor:
        """Do one step of each network; return both losses and the discriminator's mean probabilities."""
        real = self.digits[self.minibatches.next()].unsqueeze(1).float().div_(127.5).sub_(1)
        with self.autocast():
            fake = self.generator(noise(len(real), self.options.latent_size, self.noise_generator))
            logits = self.discriminator(torch.cat([real.to(fake.dtype), fake.detach()])).float()
        real_logits, fake_logits = logits.chunk(2)
        discriminator_loss = self._discriminator_loss(real_logits, fake_logits, self.options.label_smoothing)
        step(self.discriminator_optimizer, discriminator_loss)

        self.discriminator.requires_grad_(False)
        with self.autocast():
            refreshed_logits = self.discriminator(fake).float()
        generator_loss = self._generator_loss(refreshed_logits)
        step(self.generator_optimizer, generator_loss)
        self.discriminator.requires_grad_(True)

        probabilities = logits.detach().sigmoid().view(2, -1).mean(dim=1)
        return torch.cat([torch.stack([discriminator_loss.detach(), generator_loss.detach()]), probabilities])

    def sample(self, network: Generator, num: int, generator: torch.Generator) -> tuple[Tensor, None]:
        """Draw `num` digits, without labels."""
        return draw(network, noise(num, self.options.latent_size, generator), self.precision), None
