"""Trains a conditional VAE: per update one step up the ELBO, or up the importance-weighted bound. Kingma & Welling 2014; Burda+ 2016.

    resident uint8 digits --> grey levels, or a Bernoulli draw of them --> encoder --> mean, log variance --> z --> decoder --> logits
    resident labels ----------------------------------------------------------^---------------------------------------^

Fast because: digits are gathered and binarised where they lie, the label is a row of weights instead of ten more inputs, the pixels'
likelihood is taken from logits in two passes over them, Adam is fused, and matrices are multiplied in bf16 where the device can.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from algorithms.cvae.likelihood import binarise, bounds, negative_log_likelihood
from algorithms.cvae.losses import (
    bernoulli_log_likelihood,
    elbo,
    gaussian_log_density,
    importance_weighted_bound,
)
from algorithms.cvae.networks import CVAE, NUM_PIXELS, SIDE, initialize
from algorithms.cvae.options import VALIDATION_SHARE, CVAEOptions
from algorithms.cvae.priors import NUM_CLASSES
from algorithms.cvae.sampling import decode, draw, ink, manifold
from algorithms.generative.averaging import average_into
from algorithms.generative.images import beside, grid
from algorithms.generative.minibatches import Minibatches, resident
from algorithms.generative.precision import autocast, choose_precision
from algorithms.generative.training_loop import run_updates
from algorithms.mnist import MNIST
from algorithms.scoring import Scorer

METRICS = ("train_objective", "train_reconstruction", "train_kl")
RECONSTRUCTIONS = 3
"""Held-out digits per class that a picture shows beside its samples."""
MANIFOLD_SIDE = 8


class Trainer:
    """A CVAE and everything that its training needs to continue exactly. Nothing here touches the global random state's seed."""

    def __init__(
        self, options: CVAEOptions, data: MNIST, device: str | torch.device = "cpu", seed: int = 0
    ) -> None:
        self.options = options
        self.updates = 0
        self._device = torch.device(device)
        self.precision = choose_precision(options.precision, self._device)
        self._digits = resident(data.train_images.reshape(-1, NUM_PIXELS), self._device)
        self._labels = resident(data.train_labels, self._device)
        self._num_validation = len(self._digits) // VALIDATION_SHARE
        init_seed, order_seed, noise_seed, self._evaluation_seed = (
            np.random.SeedSequence(seed).generate_state(4).tolist()
        )

        self._network = CVAE(options)
        initialize(
            self._network, torch.Generator().manual_seed(init_seed)
        )  # on the processor: a seed means the same weights everywhere
        self._network.to(self._device).to(memory_format=torch.channels_last)
        self._averaged_network = deepcopy(self._network).eval().requires_grad_(False)
        self._optimizer = torch.optim.Adam(self._network.parameters(), options.lr, fused=True)
        self._scorer = Scorer(self._device)
        self._minibatches = Minibatches(
            options.num_train(len(self._digits)), options.batch_size, self._device, order_seed
        )
        self._noise_generator = torch.Generator(self._device).manual_seed(noise_seed)

    def train(self, num_updates: int) -> dict[str, float]:
        """Do `num_updates` updates; return the mean of each of METRICS over them. Raises TrainingDiverged; see `run_updates`."""
        return run_updates(self._update, num_updates, METRICS, self.updates + 1)

    def _update(self) -> Tensor:
        index_B = self._minibatches.next()
        grey_BP, label_B = self._digits[index_B], self._labels[index_B]
        pixels_BP = (
            binarise(grey_BP, self._noise_generator)
            if self.options.binarisation == "dynamic"
            else grey_BP.float().div_(255)
        )
        num_samples = self.options.num_importance_samples

        with autocast(self._device, self.precision):
            mean_BZ, log_var_BZ = self._network.posterior(pixels_BP, label_B)
            shape = (num_samples, *mean_BZ.shape)
            noise_KBZ = torch.randn(shape, generator=self._noise_generator, device=self._device)
            z_KBZ = mean_BZ + (log_var_BZ / 2).exp() * noise_KBZ
            logits_KBP = self._network.logits(z_KBZ.flatten(0, 1), label_B.repeat(num_samples)).view(
                *shape[:2], -1
            )
        log_likelihood_KB = bernoulli_log_likelihood(pixels_BP, logits_KBP)
        kl_B = self._network.prior.kl(mean_BZ, log_var_BZ, z_KBZ[0], label_B)
        if num_samples == 1:
            objective = elbo(log_likelihood_KB[0], kl_B, self._beta()).mean()
        else:
            log_ratio_KB = self._network.prior.log_density(z_KBZ, label_B) - gaussian_log_density(
                z_KBZ, mean_BZ, log_var_BZ
            )
            objective = importance_weighted_bound(log_likelihood_KB + log_ratio_KB).mean()
        self._optimizer.zero_grad(set_to_none=True)
        (-objective).backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()

        self.updates += 1
        if self.options.ema_decay:
            average_into(self._averaged_network, self._network, self.options.ema_decay, self.updates)
        return torch.stack([objective.detach(), -log_likelihood_KB.detach().mean(), kl_B.detach().mean()])

    def _beta(self) -> float:
        """Return the KL term's weight at the next update."""
        warmup = self.options.beta_warmup_updates
        return self.options.beta * min(1.0, (self.updates + 1) / warmup if warmup else 1.0)

    def evaluate(self, num_samples: int) -> dict[str, float]:
        """Score the averaged network: its bounds on the validation digits, `nll` on some of them, and `num_samples` digits that it draws.

        The keys of `likelihood.bounds` and `Scorer.score`, and `nll`. The same binarisation and the same noise at every call.
        """
        network, generator = self._scored(), self._fixed_generator()
        grey_BP, label_B = self._digits[-self._num_validation :], self._labels[-self._num_validation :]
        few, k = self.options.num_nll_digits, self.options.num_nll_samples
        metrics = bounds(network, grey_BP, label_B, generator, self.precision)
        metrics["nll"] = float(
            negative_log_likelihood(
                network, grey_BP[:few], label_B[:few], k, generator, self.precision
            ).mean()
        )
        asked_B = torch.arange(num_samples, device=self._device) % NUM_CLASSES
        return metrics | self._scorer.score(draw(network, asked_B, generator), asked_B)

    def pictures(self) -> dict[str, np.ndarray]:
        """Draw from the same noise at every call; uint8 pictures.

        `samples`: rows are the digits 0 to 9, columns draws of z, the same down a column (before a learned prior maps them to each row's
        own); beside them validation digits of the row's class, each followed by its reconstruction. `manifold`, where the latent size is
        two: for each digit what z gives, on an even grid of the prior's quantiles.
        """
        network, generator = self._scored(), self._fixed_generator()
        noise_BZ = torch.randn(
            NUM_CLASSES, self.options.latent_size, generator=generator, device=self._device
        ).repeat(NUM_CLASSES, 1)
        label_B = torch.arange(NUM_CLASSES, device=self._device).repeat_interleave(NUM_CLASSES)
        samples = grid(decode(network, noise_BZ, label_B).cpu().numpy(), NUM_CLASSES)
        pictures = {"samples": beside(samples, grid(self._reconstructions(network), 2 * RECONSTRUCTIONS))}
        if self.options.latent_size == 2:
            maps = [
                grid(images.flatten(0, 1).cpu().numpy(), MANIFOLD_SIDE)
                for images in manifold(network, MANIFOLD_SIDE, self._device)
            ]
            pictures["manifold"] = grid(np.stack(maps), 5, border=8)
        return pictures

    @torch.inference_mode()
    def _reconstructions(self, network: CVAE) -> np.ndarray:
        """Return some validation digits per class, each followed by its reconstruction from the posterior's mean; uint8 [N, 28, 28]."""
        start = len(self._labels) - self._num_validation
        index_B = torch.cat(
            [
                start + (self._labels[start:] == digit).nonzero()[:RECONSTRUCTIONS, 0]
                for digit in range(NUM_CLASSES)
            ]
        )
        grey_BP, label_B = self._digits[index_B], self._labels[index_B]
        mean_BZ, _ = network.posterior(grey_BP.float() / 255, label_B)
        pairs = torch.stack([grey_BP.view(-1, SIDE, SIDE), ink(network.logits(mean_BZ, label_B))], dim=1)
        return pairs.flatten(0, 1).cpu().numpy()

    def _scored(self) -> CVAE:
        """Return the averaged network; without averaging that is the network as it is."""
        if not self.options.ema_decay:
            average_into(self._averaged_network, self._network, 0.0, self.updates)
        return self._averaged_network

    def _fixed_generator(self) -> torch.Generator:
        return torch.Generator(self._device).manual_seed(self._evaluation_seed)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that training needs to continue exactly: tensors, numbers and strings, so `weights_only=True` loads it."""
        self._scored()
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
            "network": self._network,
            "averaged_network": self._averaged_network,
            "optimizer": self._optimizer,
            "minibatches": self._minibatches,
        }
