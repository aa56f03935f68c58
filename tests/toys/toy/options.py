"""Every hyperparameter of the toy. No torch here, so that `--help` stays instant."""

from dataclasses import dataclass

from algorithms.checks import Checks
from algorithms.generative.options import GenerativeOptions


@dataclass(frozen=True)
class ToyOptions(GenerativeOptions):
    """Hyperparameters of one toy. Raises ValueError, naming field and value, for values out of range."""

    latent_size: int = 8
    """Size of a digit's code."""
    batch_size: int = 64
    """Digits per update."""
    lr: float = 1e-2
    """Adam's step size."""

    def __post_init__(self) -> None:
        super().__post_init__()
        Checks(self).number("lr", above=0)
