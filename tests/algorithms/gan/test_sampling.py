import numpy as np
import torch

from algorithms import mnist
from algorithms.gan import GANOptions, GANTrainer
from algorithms.gan.sampling import draw, plan, samples


def test_what_a_gan_draws_is_generated_from_the_plan(digits: mnist.MNIST) -> None:
    trainer = GANTrainer(GANOptions(width=4, latent_size=8, batch_size=16, precision="fp32"), digits)
    trainer.train(3)
    images, labels = samples(trainer.state_dict(), 20, None, 5, layout="interpolation")
    assert labels is None
    network = trainer.averaged_network
    np.testing.assert_array_equal(
        images, draw(network, plan("interpolation", 20, 8, torch.Generator().manual_seed(5)), "fp32").numpy()
    )
