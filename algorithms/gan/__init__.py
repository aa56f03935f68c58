"""Deep convolutional generative adversarial network (Radford et al. 2015) on MNIST."""

from algorithms.lazy import exports

__all__ = ["GANOptions", "GANTrainer"]
__getattr__, __dir__ = exports(__name__, GANOptions="options", GANTrainer="trainer")
