"""Digits from a trained generator. B batch, Z latent size."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from algorithms.gan.networks import Generator
from algorithms.gan.options import GANOptions
from algorithms.generative import sampling
from algorithms.generative.precision import autocast, choose_precision


def noise(num: int, latent_size: int, generator: torch.Generator) -> Tensor:
    """Draw z uniformly from (-1, 1); [num, latent_size] on the generator's device."""
    return torch.rand(num, latent_size, generator=generator, device=generator.device).mul_(2).sub_(1)


def plan(layout: str, num: int, latent_size: int, generator: torch.Generator) -> Tensor:
    """Return the noise [num, Z] of a page of digits; see `generative.sampling.plan`."""

    def draws(n: int) -> Tensor:
        return noise(n, latent_size, generator)

    return sampling.plan(layout, num, draws, sampling.spherical_of_uniform, labelled=False)[0]


@torch.inference_mode()
def draw(network: Generator, noise_BZ: Tensor, precision: str) -> Tensor:
    """Return the digits that the network makes of noise; uint8 [B, 28, 28], ink 255, on its device."""
    with autocast(noise_BZ.device, precision):
        images_B1HW = sampling.in_chunks(network, noise_BZ)
    return images_B1HW.squeeze(1).float().add_(1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)


def samples(
    state: dict[str, Any], num: int, digit: int | None, seed: int, device: str = "cpu", layout: str = "draws"
) -> tuple[np.ndarray, np.ndarray | None]:
    """Draw `num` digits from a trainer's `state_dict`; see `generative.sampling`. The labels are None."""
    if digit is not None:
        raise ValueError(f"digit must be left out for a GAN, which has no labels, got {digit}")
    options = GANOptions(**state["options"])
    network = Generator(options.latent_size, options.width)
    sampling.load_network(network, state["averaged_generator"], device)
    noise_BZ = plan(layout, num, options.latent_size, torch.Generator(device).manual_seed(seed))
    precision = choose_precision(options.precision, torch.device(device))
    return draw(network, noise_BZ, precision).cpu().numpy(), None
