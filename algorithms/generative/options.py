"""STUB until branch policies is merged."""

from dataclasses import dataclass

from algorithms.generative.precision import Precision


@dataclass(frozen=True)
class GenerativeOptions:
    """Hyperparameters that every generative model has."""

    latent_size: int = 16
    batch_size: int = 32
    ema_decay: float = 0.0
    precision: Precision = "auto"

    def num_train(self, num_items: int) -> int:
        """Return how many."""
        return num_items
