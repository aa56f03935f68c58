"""Trains a DCGAN: per update one step of the discriminator, then one of the generator, on the same fakes. Goodfellow+ 2014, algorithm 1.

               noise --> generator --> fakes --+--> (no gradient) --> discriminator's step on real + fake
    resident uint8 digits --> real ------------|--------------------> ^
                                               +--> discriminator, weights frozen --> generator's step

Fast because: digits are gathered where they lie, fakes are made once for both steps, real and fake pass the discriminator as one batch, the
frozen discriminator collects no gradients, and matrices are multiplied in bf16 where the device can.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from algorithms.gan.losses import LOSSES
from algorithms.gan.networks import Discriminator, Generator, initialize
from algorithms.gan.options import GANOptions
from algorithms.gan.sampling import draw, noise
from algorithms.generative.averaging import average_into
from algorithms.generative.images import grid
from algorithms.generative.minibatches import Minibatches, resident
from algorithms.generative.precision import autocast, choose_precision
from algorithms.generative.training_loop import run_updates
from algorithms.mnist import MNIST
from algorithms.scoring import Scorer

METRICS = ("discriminator_loss", "generator_loss", "real_probability", "fake_probability")
GRID_SIDE = 8


class Trainer:
    """A DCGAN and everything that its training needs to continue exactly. Nothing here touches the global random state's seed."""

    def __init__(
        self, options: GANOptions, data: MNIST, device: str | torch.device = "cpu", seed: int = 0
    ) -> None:
        self.options = options
        self.updates = 0
        self._device = torch.device(device)
        self.precision = choose_precision(options.precision, self._device)
        self._digits = resident(data.train_images, self._device)
        init_seed, order_seed, noise_seed, self._evaluation_seed = (
            np.random.SeedSequence(seed).generate_state(4).tolist()
        )

        self._generator = Generator(options.latent_size, options.width)
        self._discriminator = Discriminator(options.width)
        init = torch.Generator().manual_seed(
            init_seed
        )  # on the processor, so that a seed means the same weights on every device
        for network in (self._generator, self._discriminator):
            initialize(network, init)
            network.to(self._device).to(memory_format=torch.channels_last)
        self._averaged_generator = deepcopy(self._generator).eval().requires_grad_(False)

        betas = (options.beta1, options.beta2)
        self._generator_optimizer = torch.optim.Adam(
            self._generator.parameters(), options.generator_lr, betas, fused=True
        )
        self._discriminator_optimizer = torch.optim.Adam(
            self._discriminator.parameters(), options.discriminator_lr, betas, fused=True
        )
        self._scorer = Scorer(self._device)
        self._minibatches = Minibatches(
            options.num_train(len(self._digits)), options.batch_size, self._device, order_seed
        )
        self._noise_generator = torch.Generator(self._device).manual_seed(noise_seed)
        self._discriminator_loss, self._generator_loss = LOSSES[options.loss]

    def train(self, num_updates: int) -> dict[str, float]:
        """Do `num_updates` updates; return the mean of each of METRICS over them. Raises TrainingDiverged; see `run_updates`."""
        return run_updates(self._update, num_updates, METRICS, self.updates + 1)

    def _update(self) -> Tensor:
        real = self._digits[self._minibatches.next()].unsqueeze(1).float().div_(127.5).sub_(1)
        with autocast(self._device, self.precision):
            fake = self._generator(noise(len(real), self.options.latent_size, self._noise_generator))
            logits = self._discriminator(torch.cat([real.to(fake.dtype), fake.detach()])).float()
        real_logits, fake_logits = logits.chunk(2)
        discriminator_loss = self._discriminator_loss(real_logits, fake_logits, self.options.label_smoothing)
        self._step(self._discriminator_optimizer, discriminator_loss)

        self._discriminator.requires_grad_(False)
        with autocast(self._device, self.precision):
            refreshed_logits = self._discriminator(fake).float()
        generator_loss = self._generator_loss(refreshed_logits)
        self._step(self._generator_optimizer, generator_loss)
        self._discriminator.requires_grad_(True)

        self.updates += 1
        if self.options.ema_decay:
            average_into(self._averaged_generator, self._generator, self.options.ema_decay, self.updates)
        probabilities = logits.detach().sigmoid().view(2, -1).mean(dim=1)
        return torch.cat([torch.stack([discriminator_loss.detach(), generator_loss.detach()]), probabilities])

    @staticmethod
    def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    def sample(self, num: int, generator: torch.Generator) -> Tensor:
        """Draw `num` digits from the averaged generator; uint8 [num, 28, 28], ink 255, on the trainer's device, as is `generator`."""
        self._catch_up()
        return draw(self._averaged_generator, noise(num, self.options.latent_size, generator), self.precision)

    def _catch_up(self) -> None:
        """Without averaging the average is the generator as it is: copied when it is looked at, which is cheaper than at every update."""
        if not self.options.ema_decay:
            average_into(self._averaged_generator, self._generator, 0.0, self.updates)

    def evaluate(self, num_samples: int) -> dict[str, float]:
        """Score `num_samples` digits, from the same noise at every call; the keys of `Scorer.score`."""
        return self._scorer.score(self.sample(num_samples, self._fixed_generator()))

    def pictures(self) -> dict[str, np.ndarray]:
        """Draw from the same noise at every call; `samples`, a uint8 picture of 64 digits, eight in a row."""
        return {"samples": grid(self.sample(GRID_SIDE**2, self._fixed_generator()).cpu().numpy(), GRID_SIDE)}

    def _fixed_generator(self) -> torch.Generator:
        return torch.Generator(self._device).manual_seed(self._evaluation_seed)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that training needs to continue exactly: tensors, numbers and strings, so `weights_only=True` loads it."""
        self._catch_up()
        return {
            "options": asdict(self.options),
            "updates": self.updates,
            **{name: part.state_dict() for name, part in self._parts().items()},
            "noise_state": self._noise_generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken; the trainer must have been built with the same options and data."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self._noise_generator.set_state(state["noise_state"].cpu())
        self.updates = state["updates"]

    def _parts(self) -> dict[str, nn.Module | torch.optim.Optimizer | Minibatches]:
        return {
            "generator": self._generator,
            "averaged_generator": self._averaged_generator,
            "discriminator": self._discriminator,
            "generator_optimizer": self._generator_optimizer,
            "discriminator_optimizer": self._discriminator_optimizer,
            "minibatches": self._minibatches,
        }
