"""The likelihood of held-out digits under a trained CVAE, in nats, on digits binarised by their grey levels.

B digits, K draws of z per digit, Z latent size, P pixels. The same generator gives the same number. Networks
multiply in `precision`, "bf16" or "fp32"; their outputs are summed in fp32, and over digits in float64."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from algorithms.cvae.losses import (
    active_units,
    bernoulli_log_likelihood,
    elbo,
    gaussian_log_density,
    importance_weighted_bound,
)
from algorithms.cvae.networks import CVAE, NUM_PIXELS
from algorithms.cvae.sampling import trained_network
from algorithms.generative.minibatches import resident
from algorithms.generative.precision import autocast, choose_precision

MOST_ROWS = 2000
"""Decoded digits held at a time, whatever K and B are: some 100 MB with the largest networks here."""


def binarise(grey_BP: Tensor, generator: torch.Generator) -> Tensor:
    """Return 1 with probability grey / 255, else 0, of uint8 grey levels; float32 [B, P]."""
    uniform_BP = torch.rand(grey_BP.shape, generator=generator, device=grey_BP.device)
    return (uniform_BP < grey_BP.float().div_(255)).float()


@torch.inference_mode()
def bounds(
    network: CVAE, grey_BP: Tensor, label_B: Tensor, generator: torch.Generator, precision: str = "fp32"
) -> dict[str, float]:
    """Return `elbo` (one draw of z per digit), its parts (elbo = -reconstruction - kl), and `active_units`.

    Active units are counted in the noise that the prior maps to z, so that the prior's mean per label doesn't
    count.
    """
    log_likelihoods, kls, means = [], [], []
    for grey_bP, label_b in _batches(grey_BP, label_B, MOST_ROWS):
        pixels_bP = binarise(grey_bP, generator)
        with autocast(grey_BP.device, precision):
            mean_bZ, log_var_bZ = network.posterior(pixels_bP, label_b)
            z_bZ = mean_bZ + (log_var_bZ / 2).exp() * _normal(mean_bZ.shape, generator)
            logits_bP = network.logits(z_bZ, label_b)
        log_likelihoods.append(bernoulli_log_likelihood(pixels_bP, logits_bP))
        kls.append(network.prior.kl(mean_bZ, log_var_bZ, z_bZ, label_b))
        means.append(network.prior.to_noise(mean_bZ, label_b))
    log_likelihood_B, kl_B = torch.cat(log_likelihoods).double(), torch.cat(kls).double()
    return {
        "elbo": float(elbo(log_likelihood_B, kl_B).mean()),
        "reconstruction": float(-log_likelihood_B.mean()),
        "kl": float(kl_B.mean()),
        "active_units": active_units(torch.cat(means)),
    }


@torch.inference_mode()
def negative_log_likelihood(
    network: CVAE,
    grey_BP: Tensor,
    label_B: Tensor,
    num_samples: int,
    generator: torch.Generator,
    precision: str = "fp32",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Tensor:
    """Return -log p(x|y) of each binarised digit by the importance-weighted bound; float64 [B].

    `num_samples` is K. The expectation is never below the truth, and falls towards it with more samples.
    MOST_ROWS draws are decoded at a time, so memory does not grow with B and K. `progress` is called with the
    numbers of finished and of all digits.
    """
    digits_at_a_time = max(1, MOST_ROWS // num_samples)
    samples_at_a_time = min(num_samples, MOST_ROWS)
    nlls, num_done = [], 0
    for grey_bP, label_b in _batches(grey_BP, label_B, digits_at_a_time):
        pixels_bP = binarise(grey_bP, generator)
        with autocast(grey_BP.device, precision):
            mean_bZ, log_var_bZ = network.posterior(pixels_bP, label_b)
        log_weights = []
        for start in range(0, num_samples, samples_at_a_time):
            k = min(samples_at_a_time, num_samples - start)
            z_kbZ = mean_bZ + (log_var_bZ / 2).exp() * _normal((k, *mean_bZ.shape), generator)
            with autocast(grey_BP.device, precision):
                logits_kbP = network.logits(z_kbZ.flatten(0, 1), label_b.repeat(k)).view(k, len(grey_bP), -1)
            log_prior_kb = network.prior.log_density(z_kbZ, label_b)
            log_joint_kb = bernoulli_log_likelihood(pixels_bP, logits_kbP) + log_prior_kb
            log_weights.append(log_joint_kb - gaussian_log_density(z_kbZ, mean_bZ, log_var_bZ))
        nlls.append(-importance_weighted_bound(torch.cat(log_weights).double()))
        num_done += len(grey_bP)
        progress(num_done, len(grey_BP))
    return torch.cat(nlls)


def measure(
    state: dict[str, Any],
    images: np.ndarray,
    labels: np.ndarray,
    num_samples: int,
    seed: int,
    device: str = "cpu",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Return `nll` with its standard error over digits, and `bounds`, for a trainer's `state_dict`.

    `images` are uint8 [N, 28, 28], `labels` int64 [N]. `progress` is as in `negative_log_likelihood`.
    """
    place = torch.device(device)
    network = trained_network(state, device)
    generator = torch.Generator(device).manual_seed(seed)
    precision = choose_precision(state["options"]["precision"], place)
    grey_BP, label_B = resident(images.reshape(-1, NUM_PIXELS), place), resident(labels, place)
    metrics = bounds(network, grey_BP, label_B, generator, precision)
    nll_B = negative_log_likelihood(network, grey_BP, label_B, num_samples, generator, precision, progress)
    error = float(nll_B.std()) / math.sqrt(len(nll_B))
    how = {"num_nll_samples": num_samples, "num_digits": len(nll_B), "precision": precision, "device": device}
    return {"nll": float(nll_B.mean()), "nll_standard_error": error, **metrics, **how}


def _batches(grey_BP: Tensor, label_B: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(torch.split(grey_BP, size), torch.split(label_B, size), strict=True)


def _normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, device=generator.device)
