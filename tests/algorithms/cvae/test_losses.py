import math
from typing import Any

import torch

from algorithms.cvae.losses import (
    active_units,
    bernoulli_log_likelihood,
    elbo,
    gaussian_kl,
    gaussian_log_density,
    importance_weighted_bound,
)


def double(values: Any) -> torch.Tensor:
    """Return a float64 tensor: sums by hand are then exact on any processor."""
    return torch.tensor(values, dtype=torch.float64)


def test_bernoulli_log_likelihood_by_hand() -> None:
    """Ink with probability 3/4 where the logit is log 3: one pixel inked, one not, one grey."""
    logits_BP = torch.full((1, 3), math.log(3), dtype=torch.float64)
    pixels_BP = torch.tensor([[1.0, 0.0, 0.5]])
    by_hand = math.log(3 / 4) + math.log(1 / 4) + (math.log(3 / 4) + math.log(1 / 4)) / 2
    torch.testing.assert_close(bernoulli_log_likelihood(pixels_BP, logits_BP), double([by_hand]))


def test_bernoulli_log_likelihood_is_finite_where_the_network_is_sure() -> None:
    """A logit of 1,000 costs nothing where it is right, and 1,000 nats where it is wrong."""
    pixels_BP = torch.tensor([[1.0], [0.0]])
    torch.testing.assert_close(
        bernoulli_log_likelihood(pixels_BP, torch.full((2, 1), 1000.0)), torch.tensor([0.0, -1000.0])
    )


def test_the_likelihood_of_grey_levels_is_the_mean_over_their_binarisations() -> None:
    """Two grey pixels, four binarisations, weighted by how likely each is."""
    grey_P, logits_P = double([0.2, 0.7]), double([-1.0, 2.5])
    mean = torch.zeros((), dtype=torch.float64)
    for first in (0.0, 1.0):
        for second in (0.0, 1.0):
            binary_P = double([first, second])
            probability = (binary_P * grey_P + (1 - binary_P) * (1 - grey_P)).prod()
            mean += probability * bernoulli_log_likelihood(binary_P, logits_P)
    torch.testing.assert_close(bernoulli_log_likelihood(grey_P, logits_P), mean)


def test_gaussian_kl_by_hand() -> None:
    """KL(N(1, 4) || N(0, 1)) = (4 + 1 - 1 - log 4) / 2; against N(3, 2), (log(2 / 4) + (4 + 4) / 2 - 1) / 2.

    Units add up.
    """
    mean_q_BZ, log_var_q_BZ = double([[1.0, 1.0]]), double([[4.0, 4.0]]).log()
    mean_p_BZ, log_var_p_BZ = double([[0.0, 3.0]]), double([[1.0, 2.0]]).log()
    by_hand = (4 - math.log(4)) / 2 + (math.log(2 / 4) + 4 - 1) / 2
    torch.testing.assert_close(
        gaussian_kl(mean_q_BZ, log_var_q_BZ, mean_p_BZ, log_var_p_BZ), double([by_hand])
    )


def test_gaussian_log_density_by_hand() -> None:
    """At the mean of N(2, 4) it is -log(2 sqrt(2 pi)), one standard deviation off half a nat less."""
    at_mean = -math.log(2 * math.sqrt(2 * math.pi))
    z_BZ, mean_BZ, log_var_BZ = double([[2.0], [4.0]]), double([[2.0]] * 2), double([[math.log(4)]] * 2)
    torch.testing.assert_close(
        gaussian_log_density(z_BZ, mean_BZ, log_var_BZ), double([at_mean, at_mean - 0.5])
    )


def test_elbo_weighs_the_kl_alone() -> None:
    log_likelihood_B, kl_B = torch.tensor([-10.0, -20.0]), torch.tensor([3.0, 4.0])
    torch.testing.assert_close(elbo(log_likelihood_B, kl_B), torch.tensor([-13.0, -24.0]))
    torch.testing.assert_close(elbo(log_likelihood_B, kl_B, beta=0.5), torch.tensor([-11.5, -22.0]))


def test_importance_weighted_bound_is_the_log_of_the_mean_weight() -> None:
    log_weights_KB = double([[1.0, 2.0], [3.0, 6.0]]).log()
    torch.testing.assert_close(importance_weighted_bound(log_weights_KB), double([2.0, 4.0]).log())
    torch.testing.assert_close(importance_weighted_bound(log_weights_KB[:1]), log_weights_KB[0])
    far_KB = log_weights_KB - 1000  # no underflow
    torch.testing.assert_close(importance_weighted_bound(far_KB), double([2.0, 4.0]).log() - 1000)


def test_an_active_unit_is_one_that_digits_move() -> None:
    """Means of -1 and 1 vary by 2 (unbiased), -0.05 and 0.05 by 0.005, which is below 0.01; -0.1 and 0.1 by
    0.02.
    """
    mean_BZ = torch.tensor([[1.0, 0.05, 0.1], [-1.0, -0.05, -0.1]])
    assert active_units(mean_BZ) == 2
