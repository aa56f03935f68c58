"""Digits from a trained generator. B batch, Z latent size."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from algorithms.gan.networks import Generator
from algorithms.gan.options import GANOptions
from algorithms.precision import autocast, choose_precision

CHUNK = 1000


def noise(num: int, latent_size: int, generator: torch.Generator) -> Tensor:
    """Draw z evenly from (-1, 1); [num, latent_size] on the generator's device."""
    return torch.rand(num, latent_size, generator=generator, device=generator.device).mul_(2).sub_(1)


@torch.inference_mode()
def draw(network: Generator, noise_BZ: Tensor, precision: str) -> Tensor:
    """Return the digits that the network makes of noise; uint8 [B, 28, 28], ink 255, on the device of both."""
    with autocast(noise_BZ.device, precision):
        chunks = [network(noise_bZ).squeeze(1) for noise_bZ in torch.split(noise_BZ, CHUNK)]
    return torch.cat(chunks).float().add_(1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)


def samples(state: dict[str, Any], num: int, digit: int | None, seed: int, device: str = "cpu") -> tuple[np.ndarray, np.ndarray | None]:
    """Draw `num` digits from a trainer's `state_dict`; return images uint8 [num, 28, 28], and None for labels, as it knows none.

    Raises ValueError where a `digit` is asked for.
    """
    if digit is not None:
        raise ValueError(f"digit must be left out: this is an unconditional GAN, which knows no labels; got {digit}")
    options = GANOptions(**state["options"])
    network = Generator(options.latent_size, options.width)
    network.load_state_dict(state["averaged_generator"])
    network.to(device).to(memory_format=torch.channels_last).eval()
    noise_BZ = noise(num, options.latent_size, torch.Generator(device).manual_seed(seed))
    return draw(network, noise_BZ, choose_precision(options.precision, torch.device(device))).cpu().numpy(), None
