"""A page of samples: its noise and labels, and walks from one draw of noise to another.

A model's `sampling` module defines

    samples(state, num, digit, seed, device="cpu", layout="draws") -> (images, labels)

`state` is a trainer's `state_dict`. Images are uint8 [num, 28, 28], ink 255. Labels are int64 [num], or None
from a model without labels. `digit` is the one digit to draw, or None for all. `layout` is one of `plan`. A
digit or a layout that the model can't draw raises ValueError.

R rows, S steps, Z latent size."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from algorithms.generative import ROW

CHUNK = 1000
"""Samples that are drawn at a time, so that memory does not grow with their number."""

NetworkT = TypeVar("NetworkT", bound=nn.Module)
Walk = Callable[[Tensor, Tensor, int], Tensor]


def plan(
    layout: str, num: int, noise: Callable[[int], Tensor], walk: Walk, labelled: bool
) -> tuple[Tensor, Tensor]:
    """Return the noise [num, Z] and the labels [num] of a page of digits, row after row.

    `noise(n)` draws [n, Z], `walk` is `spherical` or `spherical_of_uniform`. Layouts:
    - draws: noise for each digit, labels in turn;
    - grid, of a labelled model: a row for each label, the same noise down a column;
    - interpolation: in each row, ROW steps from one draw to another. Labels in turn, one a row.

    Raises ValueError for any other layout, and for a `num` that does not fill the last row.
    """
    layouts = ("draws", "grid", "interpolation") if labelled else ("draws", "interpolation")
    if layout not in layouts or (layout != "draws" and num % ROW):
        rule = f"draws, or with a multiple of {ROW} digits {' or '.join(layouts[1:])}"
        raise ValueError(f"layout must be {rule}, got {layout!r} with {num}")
    index_B = torch.arange(num)
    if layout == "draws":
        noise_BZ, label_B = noise(num), index_B % ROW
    elif layout == "grid":
        num_columns = num // ROW
        noise_BZ, label_B = noise(num_columns).repeat(ROW, 1), index_B // num_columns
    else:
        start_RZ, end_RZ = noise(num // ROW), noise(num // ROW)
        noise_BZ, label_B = walk(start_RZ, end_RZ, ROW).flatten(0, 1), index_B // ROW % ROW
    return noise_BZ, label_B.to(noise_BZ.device)


@torch.inference_mode()
def in_chunks(draw: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """Return `draw` of the tensors, CHUNK rows at a time."""
    chunks = zip(*(torch.split(tensor, CHUNK) for tensor in tensors), strict=True)
    return torch.cat([draw(*chunk) for chunk in chunks])


def load_network(network: NetworkT, weights: dict[str, Tensor], device: str | torch.device) -> NetworkT:
    """Give the network these weights and return it, ready to draw on the device."""
    network.load_state_dict(weights)
    return network.to(device).to(memory_format=torch.channels_last).eval().requires_grad_(False)


def spherical(start_RZ: Tensor, end_RZ: Tensor, num_steps: int) -> Tensor:
    """Return even steps from start to end, around the origin; [R, S, Z]. White 2016 (arXiv:1609.04468).

    Draws of N(0, I) lie near a sphere, and a straight line between two of them leaves it halfway. Here the
    direction and the norm change evenly. For equal norms that is White's formula; for unequal norms, his can
    leave their range. Where start and end are on one line through the origin, the steps are on that line.
    """
    start_R1Z, end_R1Z = start_RZ.double().unsqueeze(1), end_RZ.double().unsqueeze(1)
    share_S1 = torch.linspace(0, 1, num_steps, dtype=torch.float64, device=start_RZ.device).unsqueeze(1)
    from_R1Z, to_R1Z = normalize(start_R1Z, dim=-1), normalize(end_R1Z, dim=-1)
    cosine_R11 = (from_R1Z * to_R1Z).sum(dim=-1, keepdim=True)
    across_R1Z = to_R1Z - cosine_R11 * from_R1Z
    sine_R11 = across_R1Z.norm(dim=-1, keepdim=True)
    angle_RS1 = share_S1 * torch.atan2(sine_R11, cosine_R11)
    norm_RS1 = torch.lerp(start_R1Z.norm(dim=-1, keepdim=True), end_R1Z.norm(dim=-1, keepdim=True), share_S1)
    turned_RSZ = norm_RS1 * (angle_RS1.cos() * from_R1Z + angle_RS1.sin() * normalize(across_R1Z, dim=-1))
    straight_RSZ = torch.lerp(start_R1Z, end_R1Z, share_S1)
    walk_RSZ = torch.where(sine_R11 > 1e-6, turned_RSZ, straight_RSZ).to(start_RZ.dtype)
    walk_RSZ[:, 0], walk_RSZ[:, -1] = start_RZ, end_RZ
    return walk_RSZ


def spherical_of_uniform(start_RZ: Tensor, end_RZ: Tensor, num_steps: int) -> Tensor:
    """Return steps from start to end, both exact, for noise drawn uniformly from (-1, 1); [R, S, Z].

    They are the steps of `spherical` between the normal quantiles. On a straight line, noise halfway would be
    nearer to 0 than draws are.
    """
    start_normal_RZ, end_normal_RZ = _normal_quantiles(start_RZ), _normal_quantiles(end_RZ)
    normal_RSZ = spherical(start_normal_RZ, end_normal_RZ, num_steps)
    walk_RSZ: Tensor = (2 * torch.special.ndtr(normal_RSZ) - 1).to(start_RZ.dtype)
    walk_RSZ[:, 0], walk_RSZ[:, -1] = start_RZ, end_RZ
    return walk_RSZ


def _normal_quantiles(z_RZ: Tensor) -> Tensor:
    quantiles_RZ: Tensor = torch.special.ndtri((z_RZ.double() + 1) / 2)
    return quantiles_RZ.clamp(-8, 8)
