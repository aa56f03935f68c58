"""p(z|y): a diagonal Gaussian per label, or a normalising flow (couplings, Dinh+ 2017, arXiv:1605.08803).

Both map noise from N(0, I) to z, one to one. B batch, Z latent size, K any leading dimensions."""

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from algorithms.cvae.losses import gaussian_kl, gaussian_log_density

NUM_CLASSES = 10
NUM_COUPLINGS, COUPLING_WIDTH = 6, 128


class GaussianPrior(nn.Module):
    """A mean and a variance for every label and unit; N(0, I) at the start, and always without `learned`."""

    def __init__(self, latent_size: int, learned: bool) -> None:
        super().__init__()
        self.latent_size = latent_size
        self.parameters_of_label = nn.Embedding(NUM_CLASSES, 2 * latent_size) if learned else None

    def moments(self, label_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance, [B, Z] each."""
        if self.parameters_of_label is None:
            zeros_BZ = torch.zeros(len(label_B), self.latent_size, device=label_B.device)
            return zeros_BZ, zeros_BZ
        mean_BZ, log_var_BZ = self.parameters_of_label(label_B).chunk(2, dim=-1)
        return mean_BZ, log_var_BZ

    def log_density(self, z_KBZ: Tensor, label_B: Tensor) -> Tensor:
        """Return log p(z|y), [K, B]."""
        return gaussian_log_density(z_KBZ, *self.moments(label_B))

    def kl(self, mean_BZ: Tensor, log_var_BZ: Tensor, z_BZ: Tensor, label_B: Tensor) -> Tensor:
        """Return KL(q || p) of q = N(mean, exp(log_var) I), exact for any draw z of q; [B]."""
        return gaussian_kl(mean_BZ, log_var_BZ, *self.moments(label_B))

    def to_z(self, noise_BZ: Tensor, label_B: Tensor) -> Tensor:
        """Return mean + deviation * noise, [B, Z]."""
        mean_BZ, log_var_BZ = self.moments(label_B)
        return mean_BZ + (log_var_BZ / 2).exp() * noise_BZ

    def to_noise(self, z_BZ: Tensor, label_B: Tensor) -> Tensor:
        """Return the noise that `to_z` maps to z, [B, Z]."""
        mean_BZ, log_var_BZ = self.moments(label_B)
        return (z_BZ - mean_BZ) * (-log_var_BZ / 2).exp()


class Coupling(nn.Module):
    """Shuffles z, then shifts and scales one half by a function of the other half and the label.

    It starts as the shuffle alone.
    """

    def __init__(self, latent_size: int, shuffle: torch.Generator) -> None:
        super().__init__()
        self.kept = latent_size // 2
        changed = latent_size - self.kept
        self.order: Tensor
        self.register_buffer("order", torch.randperm(latent_size, generator=shuffle))
        self.first = nn.Linear(self.kept, COUPLING_WIDTH)
        self.label = nn.Embedding(NUM_CLASSES, COUPLING_WIDTH)
        self.second = nn.Linear(COUPLING_WIDTH, COUPLING_WIDTH)
        self.last = nn.Linear(COUPLING_WIDTH, 2 * changed)

    def shift_and_log_scale(self, kept: Tensor, label_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return shift and log scale, [K, B, changed]. A log scale is within (-2, 2), so it can't explode."""
        hidden = silu(self.second(silu(self.first(kept) + self.label(label_B))))
        shift, log_scale = self.last(hidden).chunk(2, dim=-1)
        return shift, 2 * torch.tanh(log_scale / 2)

    def to_noise(self, z_KBZ: Tensor, label_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return one step from z towards noise, [K, B, Z], and the log of its volume change, [K, B]."""
        z_KBZ = z_KBZ[..., self.order]
        kept, changed = z_KBZ[..., : self.kept], z_KBZ[..., self.kept :]
        shift, log_scale = self.shift_and_log_scale(kept, label_B)
        return torch.cat([kept, (changed - shift) * (-log_scale).exp()], dim=-1), -log_scale.sum(dim=-1)

    def to_z(self, noise_BZ: Tensor, label_B: Tensor) -> Tensor:
        """Return `to_noise` undone, [B, Z]."""
        kept, changed = noise_BZ[..., : self.kept], noise_BZ[..., self.kept :]
        shift, log_scale = self.shift_and_log_scale(kept, label_B)
        return torch.cat([kept, changed * log_scale.exp() + shift], dim=-1)[..., self.order.argsort()]


class FlowPrior(nn.Module):
    """A Gaussian per label, bent by couplings to follow where the encoder puts a label's digits."""

    def __init__(self, latent_size: int) -> None:
        super().__init__()
        shuffle = torch.Generator().manual_seed(0)  # the same shuffles in every model
        self.gaussian = GaussianPrior(latent_size, learned=True)
        self.couplings = nn.ModuleList(Coupling(latent_size, shuffle) for _ in range(NUM_COUPLINGS))

    def _unbend(self, z_KBZ: Tensor, label_B: Tensor) -> tuple[Tensor, Tensor]:
        log_volume_KB = torch.zeros((), device=z_KBZ.device)
        for coupling in self.couplings:
            assert isinstance(coupling, Coupling)
            z_KBZ, log_change_KB = coupling.to_noise(z_KBZ, label_B)
            log_volume_KB = log_volume_KB + log_change_KB
        return z_KBZ, log_volume_KB

    def log_density(self, z_KBZ: Tensor, label_B: Tensor) -> Tensor:
        """Return log p(z|y), [K, B], by the change of variables."""
        straight_KBZ, log_volume_KB = self._unbend(z_KBZ, label_B)
        return self.gaussian.log_density(straight_KBZ, label_B) + log_volume_KB

    def kl(self, mean_BZ: Tensor, log_var_BZ: Tensor, z_BZ: Tensor, label_B: Tensor) -> Tensor:
        """Return log q(z) - log p(z|y), whose mean over z from q is KL(q || p); [B]."""
        return gaussian_log_density(z_BZ, mean_BZ, log_var_BZ) - self.log_density(z_BZ, label_B)

    def to_z(self, noise_BZ: Tensor, label_B: Tensor) -> Tensor:
        """Return z of noise, [B, Z]."""
        z_BZ = self.gaussian.to_z(noise_BZ, label_B)
        for coupling in reversed(self.couplings):
            assert isinstance(coupling, Coupling)
            z_BZ = coupling.to_z(z_BZ, label_B)
        return z_BZ

    def to_noise(self, z_BZ: Tensor, label_B: Tensor) -> Tensor:
        """Return the noise that `to_z` maps to z, [B, Z]."""
        return self.gaussian.to_noise(self._unbend(z_BZ, label_B)[0], label_B)
