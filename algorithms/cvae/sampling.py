"""Digits from a trained CVAE: z from p(z|y), and the mean of p(x|z,y) as grey levels, in fp32.

Drawing each pixel from p(x|z,y) would only add noise. B batch, Z latent size, P pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from algorithms.cvae.networks import CVAE, SIDE
from algorithms.cvae.options import CVAEOptions
from algorithms.cvae.priors import NUM_CLASSES
from algorithms.generative import sampling


def trained_network(state: dict[str, Any], device: str | torch.device = "cpu") -> CVAE:
    """Return the averaged network of a trainer's `state_dict`, ready to draw."""
    return sampling.load_network(CVAE(CVAEOptions(**state["options"])), state["averaged_network"], device)


def noise(num: int, latent_size: int, generator: torch.Generator) -> Tensor:
    """Draw the noise that priors map to z, from N(0, I); [num, latent_size] on the generator's device."""
    return torch.randn(num, latent_size, generator=generator, device=generator.device)


def draw(network: CVAE, label_B: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one digit per label; uint8 [B, 28, 28], ink 255, on the device of all three."""
    return decode(network, noise(len(label_B), network.latent_size, generator), label_B)


@torch.inference_mode()
def decode(network: CVAE, noise_BZ: Tensor, label_B: Tensor) -> Tensor:
    """Return the digits that each label's prior and the decoder make of noise; uint8 [B, 28, 28]."""
    z_BZ = network.prior.to_z(noise_BZ, label_B)
    return sampling.in_chunks(lambda z_bZ, label_b: ink(network.logits(z_bZ, label_b)), z_BZ, label_B)


def ink(logits_BP: Tensor) -> Tensor:
    """Return the probabilities of ink as grey levels; uint8 [B, 28, 28]."""
    return logits_BP.sigmoid().mul(255).round_().to(torch.uint8).view(-1, SIDE, SIDE)


def manifold(network: CVAE, side: int, device: torch.device) -> Tensor:
    """Return each digit on an even grid of its prior's quantiles, for latent size 2.

    uint8 [10, side, side, 28, 28].
    """
    quantiles = torch.special.ndtri((torch.arange(side, device=device) + 0.5) / side)
    noise_BZ = torch.cartesian_prod(quantiles, quantiles).repeat(NUM_CLASSES, 1)
    label_B = torch.arange(NUM_CLASSES, device=device).repeat_interleave(side * side)
    return decode(network, noise_BZ, label_B).view(NUM_CLASSES, side, side, SIDE, SIDE)


def plan(layout: str, num: int, latent_size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the noise [num, Z] and the labels [num] of a page of digits; see `generative.sampling.plan`."""

    def draws(n: int) -> Tensor:
        return noise(n, latent_size, generator)

    return sampling.plan(layout, num, draws, sampling.spherical, labelled=True)


def samples(
    state: dict[str, Any], num: int, digit: int | None, seed: int, device: str = "cpu", layout: str = "draws"
) -> tuple[np.ndarray, np.ndarray | None]:
    """Draw `num` digits from a trainer's `state_dict`; see `generative.sampling`.

    The noise is that of `plan` for any `digit`.
    """
    network = trained_network(state, device)
    noise_BZ, label_B = plan(layout, num, network.latent_size, torch.Generator(device).manual_seed(seed))
    if digit is not None:
        label_B = torch.full_like(label_B, digit)
    return decode(network, noise_BZ, label_B).cpu().numpy(), label_B.cpu().numpy()
