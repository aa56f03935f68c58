"""Digits from a trained CVAE: z from p(z|y), and of p(x|z,y) its mean, as grey levels; drawing each pixel would only add noise. In fp32.

B batch, Z latent size, P pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from algorithms.cvae.networks import CVAE, SIDE
from algorithms.cvae.options import CVAEOptions
from algorithms.cvae.priors import NUM_CLASSES

CHUNK = 1000


def trained_network(state: dict[str, Any], device: str | torch.device = "cpu") -> CVAE:
    """Return the averaged network of a trainer's `state_dict`, ready to be used."""
    network = CVAE(CVAEOptions(**state["options"]))
    network.load_state_dict(state["averaged_network"])
    return network.to(device).to(memory_format=torch.channels_last).eval().requires_grad_(False)


def draw(network: CVAE, label_B: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one digit per label; uint8 [B, 28, 28], ink 255, on the device of all three."""
    noise_BZ = torch.randn(len(label_B), network.latent_size, generator=generator, device=label_B.device)
    return decode(network, noise_BZ, label_B)


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


def samples(state: dict[str, Any], num: int, digit: int | None, seed: int, device: str = "cpu") -> tuple[np.ndarray, np.ndarray | None]:
    """Draw `num` digits from a trainer's `state_dict`; return images uint8 [num, 28, 28] and labels int64 [num].

    All are of the class `digit`; without one, 0 to 9 in turn.
    """
    label_B = torch.arange(num, device=device) % NUM_CLASSES if digit is None else torch.full((num,), digit, device=device)
    images = draw(trained_network(state, device), label_B, torch.Generator(device).manual_seed(seed))
    return images.cpu().numpy(), label_B.cpu().numpy()
