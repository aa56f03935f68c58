"""Digits from a trained toy. B batch, Z latent size."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from algorithms.generative import sampling
from toy.networks import Autoencoder
from toy.options import ToyOptions


def noise(num: int, latent_size: int, generator: torch.Generator) -> Tensor:
    """Draw codes from N(0, I); [num, Z]."""
    return torch.randn(num, latent_size, generator=generator, device=generator.device)


def draw(network: Autoencoder, code_BZ: Tensor) -> Tensor:
    """Return the digits of codes; uint8 [B, 28, 28], ink 255."""
    pixels_BP = sampling.in_chunks(network.decoder, code_BZ).sigmoid()
    return pixels_BP.mul(255).round().to(torch.uint8).view(-1, 28, 28)


def samples(
    state: dict[str, Any], num: int, digit: int | None, seed: int, device: str = "cpu", layout: str = "draws"
) -> tuple[np.ndarray, None]:
    """Draw `num` digits from a trainer's `state_dict`; see `generative.sampling`. The labels are None."""
    if digit is not None:
        raise ValueError(f"digit must be left out for a toy, which has no labels, got {digit}")
    options = ToyOptions(**state["options"])
    network = sampling.load_network(Autoencoder(options.latent_size), state["averaged_network"], device)
    generator = torch.Generator(device).manual_seed(seed)
    codes = partial(noise, latent_size=options.latent_size, generator=generator)
    code_BZ, _ = sampling.plan(layout, num, codes, sampling.spherical, labelled=False)
    return draw(network, code_BZ).cpu().numpy(), None
