"""GAN losses: the discriminator tells real from fake, the generator makes it err.

Goodfellow+ 2014 (arXiv:1406.2661). B batch. Logits are the discriminator's: D(x) = sigmoid(logit)."""

from collections.abc import Callable

from torch import Tensor
from torch.nn.functional import softplus


def discriminator_loss(real_logits_B: Tensor, fake_logits_B: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Return -mean[(1 - s) log D(x) + s log(1 - D(x))] - mean[log(1 - D(G(z)))], s = label_smoothing.

    Smoothing is one-sided (Salimans+ 2016, arXiv:1606.03498, section 3.4). Smoothing the fakes' target too
    would reward the generator for standing still. -log D = softplus(-logit), -log(1 - D) = softplus(-logit) +
    logit.
    """
    real = softplus(-real_logits_B) + label_smoothing * real_logits_B
    return real.mean() + softplus(fake_logits_B).mean()


def non_saturating_generator_loss(fake_logits_B: Tensor) -> Tensor:
    """Return -mean[log D(G(z))]. Unlike mean[log(1 - D(G(z)))], it is steepest for the worst fakes."""
    return softplus(-fake_logits_B).mean()


LOSSES: dict[str, tuple[Callable[[Tensor, Tensor, float], Tensor], Callable[[Tensor], Tensor]]] = {
    "non_saturating": (discriminator_loss, non_saturating_generator_loss),
}
"""Name -> the discriminator's loss of real logits, fake logits and smoothing; the generator's of fakes."""
