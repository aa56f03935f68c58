"""Bounds on the likelihood of a digit given its label, in nats; docs/theory.md derives them.

ELBO: Kingma & Welling 2014 (arXiv:1312.6114). Importance-weighted bound: Burda+ 2016 (arXiv:1509.00519).

B batch, K samples of z per digit, Z latent size, P pixels."""

import math

from torch import Tensor
from torch.nn.functional import softplus

ACTIVE_VARIANCE = 1e-2
"""An active unit's posterior mean varies more than this over digits (Burda+ 2016, section 5.2)."""


def bernoulli_log_likelihood(pixels_BP: Tensor, logits_BP: Tensor) -> Tensor:
    """Return sum_p [x log sigmoid(l) + (1 - x) log(1 - sigmoid(l))] = sum_p [x l - softplus(l)]; [B].

    Any leading dimensions broadcast. Of binary pixels it is a log-likelihood. Of grey levels x in (0, 1) it
    is the expected log-likelihood of a digit binarised with probabilities x.
    """
    return (pixels_BP * logits_BP).sum(dim=-1) - softplus(logits_BP).sum(dim=-1)


def gaussian_kl(mean_q_BZ: Tensor, log_var_q_BZ: Tensor, mean_p_BZ: Tensor, log_var_p_BZ: Tensor) -> Tensor:
    """Return KL(q || p) of diagonal Gaussians, at least 0 and 0 only if q = p; [B].

    Per latent unit (log_var_p - log_var_q + (var_q + (mean_q - mean_p)^2) / var_p - 1) / 2.
    Kingma & Welling 2014, appendix B.
    """
    log_ratio_BZ = log_var_q_BZ - log_var_p_BZ
    distance_BZ = (mean_q_BZ - mean_p_BZ).square() * (-log_var_p_BZ).exp()
    return (log_ratio_BZ.expm1() - log_ratio_BZ + distance_BZ).sum(dim=-1) / 2


def gaussian_log_density(z_BZ: Tensor, mean_BZ: Tensor, log_var_BZ: Tensor) -> Tensor:
    """Return log N(z; mean, exp(log_var) I); [B], any leading dimensions that broadcast."""
    distance_BZ = (z_BZ - mean_BZ).square() * (-log_var_BZ).exp()
    return -(distance_BZ + log_var_BZ + math.log(2 * math.pi)).sum(dim=-1) / 2


def elbo(log_likelihood_B: Tensor, kl_B: Tensor, beta: float = 1.0) -> Tensor:
    """Return log p(x|z,y) - beta * KL(q(z|x,y) || p(z|y)); [B]. Kingma & Welling 2014, equation 3.

    With beta = 1 its mean over z from q is at most log p(x|y). Another beta (Higgins+ 2017) trades
    reconstruction for the information in z. Below 1 it is no bound.
    """
    return log_likelihood_B - beta * kl_B


def importance_weighted_bound(log_weights_KB: Tensor) -> Tensor:
    """Return log mean_k w_k, w = p(x|z,y) p(z|y) / q(z|x,y), z from q; [B]. Burda+ 2016, eq. 8.

    On average it is at most log p(x|y), and grows with K towards it. At K = 1 it is the ELBO, with the KL
    term also from the one draw of z.
    """
    return log_weights_KB.logsumexp(dim=0) - math.log(len(log_weights_KB))


def active_units(posterior_mean_BZ: Tensor) -> int:
    """Return how many latent units have a posterior mean with a variance above ACTIVE_VARIANCE."""
    return int((posterior_mean_BZ.var(dim=0) > ACTIVE_VARIANCE).sum())
