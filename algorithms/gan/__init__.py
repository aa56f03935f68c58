"""DCGAN on MNIST: options, networks, losses, sampling, trainer."""
