"""Conditional VAE on MNIST: options, networks, losses, trainer."""
