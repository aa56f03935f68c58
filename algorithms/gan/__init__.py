"""DCGAN on MNIST: options, networks, losses, trainer."""
