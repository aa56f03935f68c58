"""Small generative models, as they are made and after a few updates."""

from dataclasses import replace
from typing import Any

from algorithms import mnist
from algorithms.cvae import CVAEOptions, CVAETrainer
from algorithms.gan import GANOptions, GANTrainer

GAN = GANOptions(width=4, latent_size=8, batch_size=16, precision="fp32")
CVAE = CVAEOptions(
    width=16, latent_size=3, batch_size=16, precision="fp32", num_nll_samples=3, num_nll_digits=4
)
CONV_CVAE = replace(CVAE, architecture="conv", width=32, depth=1)


def trained(options: Any, data: mnist.MNIST, num_updates: int = 3, seed: int = 0) -> Any:
    """Return the trainer of these options after some updates."""
    trainer_class = GANTrainer if isinstance(options, GANOptions) else CVAETrainer
    trainer = trainer_class(options, data, seed=seed)
    trainer.train(num_updates)
    return trainer
