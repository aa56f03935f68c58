"""Conditional variational autoencoder (Kingma & Welling 2014; Sohn et al. 2015) on MNIST."""

from algorithms.lazy import exports

__all__ = ["CVAEOptions", "CVAETrainer"]
__getattr__, __dir__ = exports(__name__, CVAEOptions="options", CVAETrainer="trainer")
