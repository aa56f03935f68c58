"""Trains a conditional VAE: each update is one step up the ELBO, or up the importance-weighted bound.

Kingma & Welling 2014; Burda+ 2016. B batch, K draws of z per digit, Z latent size, P pixels.

    resident uint8 digits --> grey levels, or a Bernoulli draw of them
                                  |
    resident labels --------------+--> encoder --> mean, log variance --> z --+--> decoder --> logits
                    \\------------------------------------------------------/

It is fast for five reasons: digits are gathered and binarised on the device, a label is a row of weights
instead of ten more inputs, the likelihood of pixels comes from logits in two passes, Adam is fused, and
matrices are multiplied in bf16 where the device can."""

from __future__ import annotations

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
from algorithms.cvae.networks import CVAE, SIDE, initialize
from algorithms.cvae.options import VALIDATION_SHARE, CVAEOptions
from algorithms.cvae.priors import NUM_CLASSES
from algorithms.cvae.sampling import decode, draw, ink, manifold, noise
from algorithms.generative.images import beside, grid
from algorithms.generative.trainer import GenerativeTrainer, step

RECONSTRUCTIONS = 3
"""Validation digits per class that a picture shows beside its samples."""
MANIFOLD_SIDE = 8


class CVAETrainer(GenerativeTrainer[CVAEOptions, CVAE]):
    """A CVAE in training. The averaged network is scored and sampled."""

    metrics = ("train_objective", "train_reconstruction", "train_kl")

    def build(self, init: torch.Generator) -> tuple[CVAE, dict[str, nn.Module | torch.optim.Optimizer]]:
        """Return the network and its optimizer."""
        self.grey = self.digits.flatten(1)
        num_validation = len(self.grey) // VALIDATION_SHARE
        self._validation = self.grey[-num_validation:], self.labels[-num_validation:]
        network = CVAE(self.options)
        initialize(network, init)
        self.placed(network)
        self.optimizer = torch.optim.Adam(network.parameters(), self.options.lr, fused=True)
        return network, {"optimizer": self.optimizer}

    def update(self) -> Tensor:
        """Do one step; return the objective, the reconstruction term and the KL term, in nats."""
        index_B = self.minibatches.next()
        grey_BP, label_B = self.grey[index_B], self.labels[index_B]
        if self.options.binarisation == "dynamic":
            pixels_BP = binarise(grey_BP, self.noise_generator)
        else:
            pixels_BP = grey_BP.float().div_(255)
        num_samples = self.options.num_importance_samples

        with self.autocast():
            mean_BZ, log_var_BZ = self.network.posterior(pixels_BP, label_B)
            shape = (num_samples, *mean_BZ.shape)
            noise_KBZ = torch.randn(shape, generator=self.noise_generator, device=self.device)
            z_KBZ = mean_BZ + (log_var_BZ / 2).exp() * noise_KBZ
            logits = self.network.logits(z_KBZ.flatten(0, 1), label_B.repeat(num_samples))
        log_likelihood_KB = bernoulli_log_likelihood(pixels_BP, logits.view(*shape[:2], -1))
        kl_B = self.network.prior.kl(mean_BZ, log_var_BZ, z_KBZ[0], label_B)
        if num_samples == 1:
            objective = elbo(log_likelihood_KB[0], kl_B, self._beta()).mean()
        else:
            log_prior_KB = self.network.prior.log_density(z_KBZ, label_B)
            log_ratio_KB = log_prior_KB - gaussian_log_density(z_KBZ, mean_BZ, log_var_BZ)
            objective = importance_weighted_bound(log_likelihood_KB + log_ratio_KB).mean()
        step(self.optimizer, -objective)
        return torch.stack([objective.detach(), -log_likelihood_KB.detach().mean(), kl_B.detach().mean()])

    def _beta(self) -> float:
        """Return the KL term's weight at the next update."""
        warmup = self.options.beta_warmup_updates
        return self.options.beta * min(1.0, (self.updates + 1) / warmup if warmup else 1.0)

    def sample(self, network: CVAE, num: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw `num` digits, 0 to 9 in turn."""
        label_B = torch.arange(num, device=self.device) % NUM_CLASSES
        return draw(network, label_B, generator), label_B

    def measure(self, network: CVAE, num_samples: int, generator: torch.Generator) -> dict[str, float]:
        """Return `bounds` on the validation digits, `nll` on some of them, and scores of samples."""
        grey_BP, label_B = self._validation
        metrics = bounds(network, grey_BP, label_B, generator, self.precision)
        few, k = self.options.num_nll_digits, self.options.num_nll_samples
        nll_B = negative_log_likelihood(network, grey_BP[:few], label_B[:few], k, generator, self.precision)
        metrics["nll"] = float(nll_B.mean())
        return metrics | super().measure(network, num_samples, generator)

    def draw(self, network: CVAE, generator: torch.Generator) -> dict[str, np.ndarray]:
        """Draw `samples`, and for latent size 2 `manifold`.

        `samples`: a row for each digit 0 to 9, the same noise down a column. Beside it are validation digits
        of the row's class, each followed by its reconstruction. `manifold`: each digit on an even grid of its
        prior's quantiles.
        """
        noise_BZ = noise(NUM_CLASSES, self.options.latent_size, generator).repeat(NUM_CLASSES, 1)
        label_B = torch.arange(NUM_CLASSES, device=self.device).repeat_interleave(NUM_CLASSES)
        samples = grid(decode(network, noise_BZ, label_B).cpu().numpy(), NUM_CLASSES)
        pictures = {"samples": beside(samples, grid(self._reconstructions(network), 2 * RECONSTRUCTIONS))}
        if self.options.latent_size == 2:
            images = manifold(network, MANIFOLD_SIDE, self.device).flatten(1, 2).cpu().numpy()
            maps = [grid(one, MANIFOLD_SIDE) for one in images]
            pictures["manifold"] = grid(np.stack(maps), 5, border=8)
        return pictures

    @torch.inference_mode()
    def _reconstructions(self, network: CVAE) -> np.ndarray:
        """Return validation digits by class, each followed by its reconstruction; uint8 [N, 28, 28]."""
        grey, label = self._validation
        rows = [(label == digit).nonzero()[:RECONSTRUCTIONS, 0] for digit in range(NUM_CLASSES)]
        index_B = torch.cat(rows)
        grey_BP, label_B = grey[index_B], label[index_B]
        mean_BZ, _ = network.posterior(grey_BP.float() / 255, label_B)
        pairs = torch.stack([grey_BP.view(-1, SIDE, SIDE), ink(network.logits(mean_BZ, label_B))], dim=1)
        return pairs.flatten(0, 1).cpu().numpy()
