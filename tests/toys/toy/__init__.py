"""A toy generative model: a linear autoencoder whose codes are pulled towards N(0, I)."""

from algorithms.lazy import exports

__all__ = ["ToyOptions", "ToyTrainer"]
__getattr__, __dir__ = exports(__name__, ToyOptions="options", ToyTrainer="trainer")
