"""The toy's losses. B batch, Z latent size, P 784 pixels."""

from torch import Tensor


def reconstruction_loss(pixels_BP: Tensor, reconstruction_BP: Tensor) -> Tensor:
    """Return mean_B sum_P (x - y)^2."""
    return (pixels_BP - reconstruction_BP).square().sum(dim=1).mean()


def code_loss(code_BZ: Tensor) -> Tensor:
    """Return mean_Z [mean_B(z)^2 + (mean_B(z^2) - 1)^2], which is 0 for codes like N(0, 1)'s."""
    first_Z, second_Z = code_BZ.mean(dim=0), code_BZ.square().mean(dim=0)
    return (first_Z.square() + (second_Z - 1).square()).mean()
