"""Conditional VAE on MNIST: options, networks, priors, losses, likelihood, sampling, trainer."""
