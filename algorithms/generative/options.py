"""The hyperparameters that every generative model has. No torch here, so that `--help` stays instant."""

from dataclasses import dataclass
from typing import Literal, get_args

from algorithms.checks import Checks

Precision = Literal["auto", "bf16", "fp32"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True)
class GenerativeOptions:
    """Hyperparameters of any generative model. A model's own options inherit these.

    Raises ValueError, naming field and value, for values out of range.
    """

    latent_size: int = 96
    """Size of the latent vector z."""
    batch_size: int = 128
    """Digits per update."""
    ema_decay: float = 0.0
    """Decay per update of the averaged weights, which are scored and sampled; 0 turns averaging off."""
    precision: Precision = "auto"
    """Number format of matrix products; auto is bf16 where the device multiplies it natively, else fp32."""

    def __post_init__(self) -> None:
        checks = Checks(self).whole("latent_size", "batch_size", least=1)
        checks.number("ema_decay", least=0, below=1).one_of("precision", PRECISIONS)

    def num_train(self, num_digits: int) -> int:
        """Return how many of `num_digits` training digits train the model; the others validate it.

        Raises ValueError where they are too few for a batch.
        """
        rule = f"at most the number of training digits ({num_digits})"
        Checks(self).that(self.batch_size <= num_digits, "batch_size", rule)
        return num_digits
