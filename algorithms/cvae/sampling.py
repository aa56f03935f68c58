"""Digits from a trained CVAE: z from p(z|y), and of p(x|z,y) its mean, as grey levels; drawing each pixel would only add noise. In fp32.

Each has its own noise, or shares it with the other classes (a grid), or is a step on the way from one draw to another (an interpolation).

B batch, Z latent size, P pixels, R rows, S steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from algorithms.cvae.networks import CVAE, SIDE
from algorithms.cvae.options import CVAEOptions
from algorithms.cvae.priors import NUM_CLASSES
from algorithms.generative.walks import spherical

CHUNK = 1000
STEPS = 10
"""Digits in a row of an interpolation."""


def trained_network(state: dict[str, Any], device: str | torch.device = "cpu") -> CVAE:
    """Return the averaged network of a trainer's `state_dict`, ready to be used."""
    network = CVAE(CVAEOptions(**state["options"]))
    network.load_state_dict(state["averaged_network"])
    return network.to(device).to(memory_format=torch.channels_last).eval().requires_grad_(False)


def noise(num: int, latent_size: int, generator: torch.Generator) -> Tensor:
    """Draw from N(0, I), what priors make z of; [num, latent_size] on the generator's device."""
    return torch.randn(num, latent_size, generator=generator, device=generator.device)


def draw(network: CVAE, label_B: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one digit per label; uint8 [B, 28, 28], ink 255, on the device of all three."""
    return decode(network, noise(len(label_B), network.latent_size, generator), label_B)


@torch.inference_mode()
def decode(network: CVAE, noise_BZ: Tensor, label_B: Tensor) -> Tensor:
    """Return the digits that each label's prior and the decoder make of noise; uint8 [B, 28, 28]."""
    z_BZ = network.prior.to_z(noise_BZ, label_B)
    chunks = zip(torch.split(z_BZ, CHUNK), torch.split(label_B, CHUNK), strict=True)
    return torch.cat([ink(network.logits(z_bZ, label_b)) for z_bZ, label_b in chunks])


def ink(logits_BP: Tensor) -> Tensor:
    """Return probabilities of ink as grey levels; uint8 [B, 28, 28]."""
    return logits_BP.sigmoid().mul(255).round_().to(torch.uint8).view(-1, SIDE, SIDE)


def manifold(network: CVAE, side: int, device: torch.device) -> Tensor:
    """Return, of a latent space of two, each digit on an even grid of its prior's quantiles; uint8 [10, side, side, 28, 28]."""
    quantiles = torch.special.ndtri((torch.arange(side, device=device) + 0.5) / side)
    noise_BZ = torch.cartesian_prod(quantiles, quantiles).repeat(NUM_CLASSES, 1)
    label_B = torch.arange(NUM_CLASSES, device=device).repeat_interleave(side * side)
    return decode(network, noise_BZ, label_B).view(NUM_CLASSES, side, side, SIDE, SIDE)


def plan(layout: str, num: int, latent_size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the noise [num, Z] and the labels [num] of `num` digits, a page's rows one after another.

    `layout`: draws, a draw each, labels in turn; grid, a row for each label, the same draw down a column; interpolation, STEPS from one
    draw to another in every row, labels in turn row by row. Raises ValueError for any other, and for a `num` that leaves a row short.
    """
    index_B = torch.arange(num, device=generator.device)
    if layout == "draws":
        return noise(num, latent_size, generator), index_B % NUM_CLASSES
    if layout == "grid" and num % NUM_CLASSES == 0:
        num_columns = num // NUM_CLASSES
        return noise(num_columns, latent_size, generator).repeat(NUM_CLASSES, 1), index_B // num_columns
    if layout == "interpolation" and num % STEPS == 0:
        start_RZ, end_RZ = (noise(num // STEPS, latent_size, generator) for _ in range(2))
        return spherical(start_RZ, end_RZ, STEPS).flatten(0, 1), index_B // STEPS % NUM_CLASSES
    raise ValueError(
        f"layout must be draws, or of a multiple of ten digits grid or interpolation, got {layout!r} of {num}"
    )


def samples(
    state: dict[str, Any], num: int, digit: int | None, seed: int, device: str = "cpu", layout: str = "draws"
) -> tuple[np.ndarray, np.ndarray | None]:
    """Draw `num` digits from a trainer's `state_dict`; return images uint8 [num, 28, 28] and labels int64 [num].

    Noise and labels are those of `plan`, but that all are of the class `digit`, where it is given.
    """
    network = trained_network(state, device)
    noise_BZ, label_B = plan(layout, num, network.latent_size, torch.Generator(device).manual_seed(seed))
    if digit is not None:
        label_B = torch.full_like(label_B, digit)
    return decode(network, noise_BZ, label_B).cpu().numpy(), label_B.cpu().numpy()
