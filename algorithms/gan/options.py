"""Every hyperparameter of the DCGAN, with the homework's values as defaults. No torch here, so that `--help` stays instant."""

from dataclasses import dataclass
from typing import Literal, get_args

from algorithms.generative.options import GenerativeOptions

Loss = Literal["non_saturating"]
LOSSES: tuple[Loss, ...] = get_args(Loss)
"""Names of the loss pairs in `losses.LOSSES`."""


@dataclass(frozen=True)
class GANOptions(GenerativeOptions):
    """Hyperparameters of one DCGAN; the defaults are the homework's preset.

    Raises ValueError, naming the value, when one is out of its range.
    """

    latent_size: int = 96
    """Size of the noise vector z, drawn uniformly from (-1, 1)."""
    width: int = 32
    """Channels of the discriminator's first layer; every other layer is a multiple of it."""
    batch_size: int = 128
    """Real digits, and as many fakes, per update."""
    generator_lr: float = 1e-3
    """Adam's step size for the generator."""
    discriminator_lr: float = 1e-3
    """Adam's step size for the discriminator."""
    beta1: float = 0.5
    """Adam's decay of the first moment, both networks."""
    beta2: float = 0.999
    """Adam's decay of the second moment, both networks."""
    loss: Loss = "non_saturating"
    """Which pair of losses: non_saturating (Goodfellow+ 2014)."""
    label_smoothing: float = 0.0
    """One-sided: real digits get the target 1 - label_smoothing, fakes keep 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width < 1:
            raise ValueError(f"width must be at least 1, got {self.width}")
        if self.batch_size < 2:
            raise ValueError(
                f"batch_size must be at least 2 (batch normalisation needs a spread), got {self.batch_size}"
            )
        for name in ("generator_lr", "discriminator_lr"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be a positive number, got {getattr(self, name)}")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 0 and below 1, got {getattr(self, name)}")
        if not 0 <= self.label_smoothing < 0.5:
            raise ValueError(f"label_smoothing must be at least 0 and below 0.5, got {self.label_smoothing}")
        if self.loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {self.loss!r}")
