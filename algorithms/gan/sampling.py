"""Digits from a trained generator: each of its own noise, or steps on the way from one draw to another (an interpolation).

B batch, Z latent size, R rows, S steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from algorithms.gan.networks import Generator
from algorithms.gan.options import GANOptions
from algorithms.generative.precision import autocast, choose_precision
from algorithms.generative.walks import spherical_of_uniform

CHUNK = 1000
STEPS = 10
"""Digits in a row of an interpolation."""


def noise(num: int, latent_size: int, generator: torch.Generator) -> Tensor:
    """Draw z evenly from (-1, 1); [num, latent_size] on the generator's device."""
    return torch.rand(num, latent_size, generator=generator, device=generator.device).mul_(2).sub_(1)


def plan(layout: str, num: int, latent_size: int, generator: torch.Generator) -> Tensor:
    """Return the noise of `num` digits, a page's rows one after another; [num, Z].

    `layout`: draws, a draw each; interpolation, STEPS from one draw to another in every row. Raises ValueError for any other (a grid would
    have a row for each label), and for a `num` that leaves a row short.
    """
    if layout == "draws":
        return noise(num, latent_size, generator)
    if layout == "interpolation" and num % STEPS == 0:
        start_RZ, end_RZ = (noise(num // STEPS, latent_size, generator) for _ in range(2))
        return spherical_of_uniform(start_RZ, end_RZ, STEPS).flatten(0, 1)
    raise ValueError(
        f"layout must be draws, or of a multiple of {STEPS} digits interpolation, got {layout!r} of {num}"
    )


@torch.inference_mode()
def draw(network: Generator, noise_BZ: Tensor, precision: str) -> Tensor:
    """Return the digits that the network makes of noise; uint8 [B, 28, 28], ink 255, on the device of both."""
    with autocast(noise_BZ.device, precision):
        chunks = [network(noise_bZ).squeeze(1) for noise_bZ in torch.split(noise_BZ, CHUNK)]
    return torch.cat(chunks).float().add_(1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)


def samples(
    state: dict[str, Any], num: int, digit: int | None, seed: int, device: str = "cpu", layout: str = "draws"
) -> tuple[np.ndarray, np.ndarray | None]:
    """Draw `num` digits from a trainer's `state_dict`; return images uint8 [num, 28, 28], and None for labels, as it knows none.

    `layout` is as in `plan`. Raises ValueError where a `digit` is asked for.
    """
    if digit is not None:
        raise ValueError(
            f"digit must be left out: this is an unconditional GAN, which knows no labels; got {digit}"
        )
    options = GANOptions(**state["options"])
    network = Generator(options.latent_size, options.width)
    network.load_state_dict(state["averaged_generator"])
    network.to(device).to(memory_format=torch.channels_last).eval()
    noise_BZ = plan(layout, num, options.latent_size, torch.Generator(device).manual_seed(seed))
    return draw(
        network, noise_BZ, choose_precision(options.precision, torch.device(device))
    ).cpu().numpy(), None
