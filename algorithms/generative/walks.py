"""Ways from one latent vector to another on which every step is as likely as a draw. R rows, S steps, Z latent size."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize


def spherical(start_RZ: Tensor, end_RZ: Tensor, num_steps: int) -> Tensor:
    """Return even steps from start to end, both exact, around the origin; [R, S, Z]. White 2016 (arXiv:1609.04468).

    Draws of N(0, I) lie near a sphere, and a straight line between two leaves it for the middle, where there are none. Here the direction
    turns evenly, and the norm goes evenly from one to the other; White's formula is that for equal norms, and for others can leave their
    range. Where both are on one line through the origin, no turn is nearer than another, and the steps are on that line.
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
    walk_RSZ = torch.where(sine_R11 > 1e-6, turned_RSZ, torch.lerp(start_R1Z, end_R1Z, share_S1)).to(
        start_RZ.dtype
    )
    walk_RSZ[:, 0], walk_RSZ[:, -1] = start_RZ, end_RZ
    return walk_RSZ


def spherical_of_uniform(start_RZ: Tensor, end_RZ: Tensor, num_steps: int) -> Tensor:
    """Return steps from start to end, both exact, for noise that is even in (-1, 1); [R, S, Z].

    `spherical`, of the normal quantiles of what is walked between: halfway on a straight line, noise would be nearer to 0 than any draw.
    """
    start_normal_RZ, end_normal_RZ = (
        torch.special.ndtri((z_RZ.double() + 1) / 2).clamp(-8, 8) for z_RZ in (start_RZ, end_RZ)
    )
    walk_RSZ: Tensor = (2 * torch.special.ndtr(spherical(start_normal_RZ, end_normal_RZ, num_steps)) - 1).to(
        start_RZ.dtype
    )
    walk_RSZ[:, 0], walk_RSZ[:, -1] = start_RZ, end_RZ
    return walk_RSZ
