"""Hyperparameters that every generative model has. No torch here, so that `--help` stays instant."""

from dataclasses import dataclass
from typing import Literal, get_args

from algorithms.checks import Checks

Precision = Literal["auto", "bf16", "fp32"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True)
class GenerativeOptions:
    """Base of a model's options, which give the defaults and check their own fields after `super().__post_init__()`.

    Raises ValueError that names the field and the value.
    """

    latent_size: int
    """Size of the latent vector z."""
    batch_size: int
    """Digits per update."""
    ema_decay: float = 0.0
    """Decay per update of the averaged weights, which are scored and sampled; 0 is no averaging."""
    precision: Precision = "auto"
    """auto: bf16 where the device multiplies it natively, else fp32."""

    def __post_init__(self) -> None:
        checks = Checks(self).whole("latent_size", "batch_size", least=1)
        checks.number("ema_decay", least=0, below=1).one_of("precision", PRECISIONS)

    def num_train(self, num_digits: int) -> int:
        """Return how many of `num_digits` training digits the model trains on; by default all.

        Raises ValueError if they don't fill a minibatch.
        """
        rule = f"at most the number of digits trained on ({num_digits})"
        Checks(self).that(self.batch_size <= num_digits, "batch_size", rule)
        return num_digits
