"""What docs/theory.md derives of the conditional VAE: exact for Gaussians, by quadrature for a small network.

N independent repetitions, K draws of z per bound, Z latent size, P pixels, C classes. float64, except in the
network.
A mean over N repetitions is compared within 5 of its standard errors, at fixed seeds."""

import itertools
import math
from copy import deepcopy
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence
from torch.nn.functional import logsigmoid

from algorithms.cvae.likelihood import MOST_ROWS, bounds, negative_log_likelihood
from algorithms.cvae.losses import (
    bernoulli_log_likelihood,
    elbo,
    gaussian_kl,
    gaussian_log_density,
    importance_weighted_bound,
)
from algorithms.cvae.networks import CVAE, NUM_PIXELS, initialize
from algorithms.cvae.options import CVAEOptions
from algorithms.cvae.priors import NUM_CLASSES, GaussianPrior

deterministic = settings(derandomize=True, deadline=None)
LABELS = st.integers(0, 2)


def vectors(size: int, low: float, high: float) -> st.SearchStrategy[Tensor]:
    return st.lists(st.floats(low, high), min_size=size, max_size=size).map(vector)


def vector(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mean_and_error(values_N: Tensor) -> tuple[float, float]:
    """Return the mean over N and its standard error."""
    return values_N.mean().item(), values_N.std().item() / math.sqrt(len(values_N))


# ---- a model of known evidence: p(z|y) = N(m_y, diag v_y), p(x|z,y) = N(W z + b_y, noise_var I)


PRIOR_MEAN_CZ = vector([0.0, 0.0, 1.0, -2.0, -1.5, 0.5]).view(3, 2)
PRIOR_LOG_VAR_CZ = vector([0.0, 0.0, 0.7, -1.0, -0.4, 0.3]).view(3, 2)
BIAS_CP = vector([0.0, 0.0, 0.0, 1.0, -1.0, 0.5, -0.3, 0.2, 2.0]).view(3, 3)


@dataclass(frozen=True)
class LinearGaussian:
    weight_PZ: Tensor
    noise_var: float = 0.5

    def prior(self, y: int) -> tuple[Tensor, Tensor]:
        """Mean m_y and log variance log v_y of p(z|y)."""
        return PRIOR_MEAN_CZ[y], PRIOR_LOG_VAR_CZ[y]

    def log_likelihood(self, x_P: Tensor, z_NZ: Tensor, y: int) -> Tensor:
        return gaussian_log_density(
            x_P, z_NZ @ self.weight_PZ.T + BIAS_CP[y], torch.tensor(self.noise_var, dtype=torch.float64).log()
        )

    def expected_log_likelihood(self, x_P: Tensor, mean_Z: Tensor, log_var_Z: Tensor, y: int) -> Tensor:
        """E_q log p(x|z,y): the log-likelihood at q's mean, less the squared error that q's spread adds."""
        spread = (log_var_Z.exp() * self.weight_PZ.square().sum(dim=0)).sum()
        return self.log_likelihood(x_P, mean_Z, y) - spread / (2 * self.noise_var)

    def elbo(self, x_P: Tensor, mean_Z: Tensor, log_var_Z: Tensor, y: int, beta: float = 1.0) -> float:
        kl = gaussian_kl(mean_Z, log_var_Z, *self.prior(y))
        return elbo(self.expected_log_likelihood(x_P, mean_Z, log_var_Z, y), kl, beta).item()

    def log_evidence(self, x_P: Tensor, y: int) -> float:
        """log p(x|y) of N(W m_y + b_y, W diag(v_y) W' + noise_var I)."""
        mean_Z, log_var_Z = self.prior(y)
        covariance_PP = self.weight_PZ * log_var_Z.exp() @ self.weight_PZ.T + self.noise_var * torch.eye(
            3, dtype=torch.float64
        )
        off_P = x_P - self.weight_PZ @ mean_Z - BIAS_CP[y]
        distance, log_volume = (
            off_P @ torch.linalg.solve(covariance_PP, off_P),
            torch.logdet(2 * math.pi * covariance_PP),
        )
        return -float(distance + log_volume) / 2

    def posterior(self, x_P: Tensor, y: int) -> MultivariateNormal:
        """p(z|x,y), by Bayes' rule: precisions add up, and the mean is weighted by them."""
        mean_Z, log_var_Z = self.prior(y)
        precision_ZZ = torch.diag((-log_var_Z).exp()) + self.weight_PZ.T @ self.weight_PZ / self.noise_var
        weighted_Z = mean_Z * (-log_var_Z).exp() + self.weight_PZ.T @ (x_P - BIAS_CP[y]) / self.noise_var
        return MultivariateNormal(torch.linalg.solve(precision_ZZ, weighted_Z), precision_matrix=precision_ZZ)

    def diagonal_posterior(self, x_P: Tensor, y: int) -> tuple[Tensor, Tensor]:
        posterior = self.posterior(x_P, y)
        covariance_ZZ = posterior.covariance_matrix
        torch.testing.assert_close(covariance_ZZ, torch.diag(covariance_ZZ.diag()), atol=1e-12, rtol=0)
        return posterior.mean, covariance_ZZ.diag().log()

    def log_weights(
        self, x_P: Tensor, mean_Z: Tensor, log_var_Z: Tensor, y: int, noise_KNZ: Tensor
    ) -> Tensor:
        z_KNZ = mean_Z + (log_var_Z / 2).exp() * noise_KNZ
        log_ratio_KN = gaussian_log_density(z_KNZ, *self.prior(y)) - gaussian_log_density(
            z_KNZ, mean_Z, log_var_Z
        )
        return self.log_likelihood(x_P, z_KNZ, y) + log_ratio_KN


SLANTED = LinearGaussian(vector([1.0, 0.6, -0.4, 0.8, 0.5, 0.5]).view(3, 2))
"""Given x the two latents are correlated, so no diagonal q is the posterior."""
UPRIGHT = LinearGaussian(vector([1.0, 0.5, 0.5, -1.0, 0.0, 0.4]).view(3, 2))
"""The columns of W are orthogonal, so the posterior is diagonal."""
X_P, Y = vector([1.2, -0.7, 2.5]), 1


# ---- the variational bound


@deterministic
@given(x_P=vectors(3, -3, 3), y=LABELS, mean_Z=vectors(2, -3, 3), log_var_Z=vectors(2, -4, 2))
def test_the_evidence_is_the_elbo_plus_the_kl_to_the_true_posterior(
    x_P: Tensor, y: int, mean_Z: Tensor, log_var_Z: Tensor
) -> None:
    """Whatever q is: the same q for every label is a q, too."""
    bound, evidence = SLANTED.elbo(x_P, mean_Z, log_var_Z, y), SLANTED.log_evidence(x_P, y)
    q = MultivariateNormal(mean_Z, torch.diag(log_var_Z.exp()))
    assert evidence - bound == pytest.approx(
        kl_divergence(q, SLANTED.posterior(x_P, y)).item(), rel=1e-9, abs=1e-9
    )
    assert bound < evidence


@deterministic
@given(x_P=vectors(3, -3, 3), y=LABELS)
def test_the_bound_is_tight_at_the_true_posterior(x_P: Tensor, y: int) -> None:
    assert UPRIGHT.elbo(x_P, *UPRIGHT.diagonal_posterior(x_P, y), y) == pytest.approx(
        UPRIGHT.log_evidence(x_P, y), rel=1e-10, abs=1e-10
    )


@deterministic
@given(
    x_P=vectors(3, -3, 3),
    y=LABELS,
    mean_Z=vectors(2, -3, 3),
    log_var_Z=vectors(2, -4, 2),
    beta=st.floats(1, 10),
)
def test_a_beta_above_one_still_bounds_the_evidence(
    x_P: Tensor, y: int, mean_Z: Tensor, log_var_Z: Tensor, beta: float
) -> None:
    assert (
        SLANTED.elbo(x_P, mean_Z, log_var_Z, y, beta)
        <= SLANTED.elbo(x_P, mean_Z, log_var_Z, y)
        < SLANTED.log_evidence(x_P, y)
    )


@deterministic
@given(x_P=vectors(3, -3, 3), y=LABELS, beta=st.floats(0, 0.99))
def test_a_beta_below_one_exceeds_the_evidence_at_the_true_posterior(
    x_P: Tensor, y: int, beta: float
) -> None:
    mean_Z, log_var_Z = UPRIGHT.diagonal_posterior(x_P, y)
    excess = UPRIGHT.elbo(x_P, mean_Z, log_var_Z, y, beta) - UPRIGHT.log_evidence(x_P, y)
    assert excess == pytest.approx(
        (1 - beta) * gaussian_kl(mean_Z, log_var_Z, *UPRIGHT.prior(y)).item(), rel=1e-9, abs=1e-9
    )
    assert excess > 0


@deterministic
@given(beta=st.floats(0.1, 10), off_Z=vectors(2, -1, 1))
def test_under_beta_the_best_q_is_the_posterior_of_a_tempered_likelihood(beta: float, off_Z: Tensor) -> None:
    """p(x|z,y)^(1/beta) is, as a function of z, the likelihood under beta times the noise variance."""
    mean_Z, log_var_Z = replace(UPRIGHT, noise_var=beta * UPRIGHT.noise_var).diagonal_posterior(X_P, Y)
    best = UPRIGHT.elbo(X_P, mean_Z, log_var_Z, Y, beta)
    assert UPRIGHT.elbo(X_P, mean_Z + off_Z, log_var_Z, Y, beta) <= best + 1e-9
    assert UPRIGHT.elbo(X_P, mean_Z, log_var_Z + off_Z, Y, beta) <= best + 1e-9


# ---- KL between diagonal Gaussians


@deterministic
@given(q=st.tuples(vectors(3, -5, 5), vectors(3, -6, 3)), p=st.tuples(vectors(3, -5, 5), vectors(3, -6, 3)))
def test_kl_agrees_with_torch_and_is_never_negative(
    q: tuple[Tensor, Tensor], p: tuple[Tensor, Tensor]
) -> None:
    theirs = kl_divergence(
        *(Independent(Normal(mean_Z, (log_var_Z / 2).exp()), 1) for mean_Z, log_var_Z in (q, p))
    )
    ours = gaussian_kl(*q, *p)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
    assert ours >= 0


@deterministic
@given(
    p=st.tuples(vectors(3, -5, 5), vectors(3, -6, 3)),
    of=st.sampled_from(["mean", "log_var"]),
    unit=st.integers(0, 2),
    size=st.floats(1e-3, 5),
    sign=st.sampled_from([-1, 1]),
)
def test_kl_is_zero_at_the_prior_and_nowhere_else(
    p: tuple[Tensor, Tensor], of: str, unit: int, size: float, sign: int
) -> None:
    mean_Z, log_var_Z = (parameter_Z.clone() for parameter_Z in p)
    assert gaussian_kl(mean_Z, log_var_Z, *p) == 0
    (mean_Z if of == "mean" else log_var_Z)[unit] += sign * size
    assert gaussian_kl(mean_Z, log_var_Z, *p) > 0


@pytest.mark.parametrize(
    ("mean_q", "log_var_q", "mean_p", "log_var_p"),
    [
        ([0.5, -1.0, 2.0], [0.0, -2.0, 1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]),
        ([0.5, -1.0, 2.0], [0.0, -2.0, 1.0], [1.0, -1.0, 1.5], [0.5, -1.0, 2.0]),
        ([0.0, 0.0, 0.0], [1.5, 1.5, -3.0], [0.3, 0.0, -0.2], [0.0, 1.5, -3.0]),
    ],
)
def test_kl_is_the_mean_log_ratio_of_the_densities(
    mean_q: list[float], log_var_q: list[float], mean_p: list[float], log_var_p: list[float]
) -> None:
    q, p = (vector(mean_q), vector(log_var_q)), (vector(mean_p), vector(log_var_p))
    z_NZ = q[0] + (q[1] / 2).exp() * normal(200_000, 3, seed=0)
    mean, error = mean_and_error(gaussian_log_density(z_NZ, *q) - gaussian_log_density(z_NZ, *p))
    assert abs(mean - gaussian_kl(*q, *p).item()) < 5 * error


# ---- the reparameterised gradient


def test_the_reparameterised_gradient_is_right_on_average() -> None:
    """By z = mean + exp(log_var / 2) noise, against the gradient of the expectation in closed form."""
    mean_Z, log_var_Z = vector([0.8, -0.5]), vector([-0.5, 0.4])
    parameters = torch.cat([mean_Z, log_var_Z]).requires_grad_()
    (exact,) = torch.autograd.grad(
        SLANTED.expected_log_likelihood(X_P, parameters[:2], parameters[2:], Y), parameters
    )

    parameters_N4 = parameters.detach().repeat(50_000, 1).requires_grad_()
    z_NZ = parameters_N4[:, :2] + (parameters_N4[:, 2:] / 2).exp() * normal(50_000, 2, seed=1)
    (sampled_N4,) = torch.autograd.grad(SLANTED.log_likelihood(X_P, z_NZ, Y).sum(), parameters_N4)
    for sampled_N, gradient in zip(sampled_N4.unbind(dim=1), exact.tolist(), strict=True):
        mean, error = mean_and_error(sampled_N)
        assert abs(mean - gradient) < 5 * error
        assert error < 0.1 * abs(gradient)  # so that the line above says something


# ---- the Bernoulli likelihood and grey levels

DIGITS_BP = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4)), dtype=torch.float64)
"""All binary digits of four pixels. What is said of them holds to 1e-7: torch's softplus(l) is l above 20."""


def probabilities(grey_P: Tensor) -> Tensor:
    """How likely each of DIGITS_BP is, if each pixel is drawn with its grey level."""
    return torch.where(DIGITS_BP == 1, grey_P, 1 - grey_P).prod(dim=1)


@deterministic
@given(grey_P=vectors(4, 0, 1), logits_P=vectors(4, -30, 30))
def test_grey_levels_give_the_expected_log_likelihood_of_the_binarised_digit(
    grey_P: Tensor, logits_P: Tensor
) -> None:
    log_likelihood_B = torch.where(DIGITS_BP == 1, logsigmoid(logits_P), logsigmoid(-logits_P)).sum(dim=1)
    torch.testing.assert_close(
        bernoulli_log_likelihood(DIGITS_BP, logits_P), log_likelihood_B, rtol=1e-7, atol=1e-7
    )
    expected = (probabilities(grey_P) * log_likelihood_B).sum()
    torch.testing.assert_close(bernoulli_log_likelihood(grey_P, logits_P), expected, rtol=1e-7, atol=1e-7)


@deterministic
@given(logits_P=vectors(4, -30, 30))
def test_only_binary_digits_have_probabilities_that_sum_to_one(logits_P: Tensor) -> None:
    """Over the cube of grey levels the same formula integrates to tanh(l / 2) / l a pixel, at most 1/2."""
    assert bernoulli_log_likelihood(DIGITS_BP, logits_P).exp().sum().item() == pytest.approx(1, rel=1e-7)
    grey_N1 = (torch.arange(1000, dtype=torch.float64)[:, None] + 0.5) / 1000
    for logit in logits_P.tolist():
        integral = bernoulli_log_likelihood(grey_N1, vector([logit])).exp().mean().item()
        assert integral == pytest.approx(math.tanh(logit / 2) / logit if abs(logit) > 1e-6 else 0.5, rel=1e-3)
        assert integral <= 0.5 + 1e-12


@deterministic
@given(grey_P=vectors(4, 0, 1), seed=st.integers(0, 999), k=st.sampled_from([1, 5]))
def test_grey_levels_bound_the_average_bound_of_the_binarised_digits(
    grey_P: Tensor, seed: int, k: int
) -> None:
    """Draw by draw, as z comes from an encoder that saw grey levels: equal with one draw, lower with more."""
    logits_KP, log_ratio_K = 2 * normal(k, 4, seed=seed), normal(k, seed=seed + 1000)
    of_grey = importance_weighted_bound(bernoulli_log_likelihood(grey_P, logits_KP) + log_ratio_K)
    log_weights_KB = bernoulli_log_likelihood(DIGITS_BP, logits_KP[:, None]) + log_ratio_K[:, None]
    on_average = (probabilities(grey_P) * importance_weighted_bound(log_weights_KB)).sum()
    assert of_grey <= on_average + 1e-12
    if k == 1:
        torch.testing.assert_close(of_grey, on_average, rtol=1e-12, atol=1e-12)


# ---- the importance-weighted bound

Q = (vector([1.3, -0.6]), vector([0.0, -0.3]))
"""Some q that is off the true posterior of SLANTED, and wide enough that the weights' variance is finite."""
KS = (1, 2, 10, 50, 250)


@pytest.fixture(scope="module")
def log_weights_KN() -> Tensor:
    return SLANTED.log_weights(X_P, *Q, Y, normal(KS[-1], 4000, 2, seed=2))


def block_bounds(log_weights_KN: Tensor, k: int) -> Tensor:
    """The bound with k draws, averaged over the disjoint blocks of k among all K draws; [N]."""
    return importance_weighted_bound(
        log_weights_KN.view(-1, k, log_weights_KN.shape[1]).transpose(0, 1)
    ).mean(dim=0)


@deterministic
@given(log_weights_K=vectors(6, -50, 50))
def test_the_mean_over_all_subsets_grows_with_their_size(log_weights_K: Tensor) -> None:
    """The step of the proof that needs no probability: it holds for any six numbers."""
    subsets = [torch.tensor(list(itertools.combinations(range(6), k))).T for k in range(1, 7)]
    means = [importance_weighted_bound(log_weights_K[subset_kN]).mean() for subset_kN in subsets]
    assert all(fewer <= more + 1e-12 for fewer, more in itertools.pairwise(means))


def test_the_bound_with_one_draw_is_on_average_the_elbo(log_weights_KN: Tensor) -> None:
    mean, error = mean_and_error(block_bounds(log_weights_KN, 1))
    assert abs(mean - SLANTED.elbo(X_P, *Q, Y)) < 5 * error


def test_the_bound_grows_with_the_draws_and_stays_below_the_evidence(log_weights_KN: Tensor) -> None:
    """From a gap of 1.5 nats with one draw to 0.002 with 250."""
    evidence = SLANTED.log_evidence(X_P, Y)
    for fewer, more in itertools.pairwise(KS):
        growth, error = mean_and_error(
            block_bounds(log_weights_KN, more) - block_bounds(log_weights_KN, fewer)
        )
        assert growth > 5 * error
    for k in KS:
        mean, error = mean_and_error(block_bounds(log_weights_KN, k))
        assert mean < evidence + 5 * error
    assert evidence - SLANTED.elbo(X_P, *Q, Y) > 1.5
    assert mean == pytest.approx(evidence, abs=0.005 + 5 * error)


def test_the_gap_at_many_draws_is_half_the_weights_relative_variance_over_k(log_weights_KN: Tensor) -> None:
    """Weights over the evidence have mean 1, so the bound less (their mean - 1) only varies less."""
    weights_KN = (log_weights_KN - SLANTED.log_evidence(X_P, Y)).exp()
    mean, error = mean_and_error(weights_KN.mean(dim=0))
    assert abs(mean - 1) < 5 * error
    k = KS[-1]
    gap, error = mean_and_error(
        weights_KN.mean(dim=0) - 1 - block_bounds(log_weights_KN, k) + SLANTED.log_evidence(X_P, Y)
    )
    assert gap == pytest.approx(
        weights_KN.var().item() / (2 * k), abs=5 * error + 1 / k**2
    )  # the next term is of order 1 / k^2
    assert error < 0.05 * gap


@pytest.mark.parametrize("k", [1, 2, 20, 1000])
def test_with_the_true_posterior_every_draw_gives_the_evidence(k: int) -> None:
    log_weights_KN = UPRIGHT.log_weights(
        X_P, *UPRIGHT.diagonal_posterior(X_P, Y), Y, normal(k, 50, 2, seed=4)
    )
    exact_N = torch.full((50,), UPRIGHT.log_evidence(X_P, Y), dtype=torch.float64)
    torch.testing.assert_close(importance_weighted_bound(log_weights_KN), exact_N, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("k", [1, 10])
def test_a_bound_seldom_exceeds_the_evidence_by_much(k: int) -> None:
    """Markov's inequality: by more than a nats with a probability of at most exp(-a)."""
    bound_N = importance_weighted_bound(SLANTED.log_weights(X_P, *Q, Y, normal(k, 20_000, 2, seed=5)))
    for nats in (0.5, 1.0, 3.0):
        assert (bound_N > SLANTED.log_evidence(X_P, Y) + nats).double().mean() <= math.exp(-nats)


# ---- the network, with a latent of one unit, so that sums over a fine grid of z are integrals

LABEL_B = torch.tensor([0, 3, 7])
ROUNDING = 1e-3
"""Nats that float32 may cost a sum of 784 terms that is about 550."""


@dataclass(frozen=True)
class Truth:
    """Of one digit, by quadrature."""

    nll: float
    elbo: float
    reconstruction: float
    kl: float
    kl_to_posterior: float


@pytest.fixture(scope="module")
def network() -> CVAE:
    """Random weights, a prior that differs from label to label, and a decoder that heeds z."""
    network = CVAE(CVAEOptions(latent_size=1, width=16, depth=1, prior="learned"))
    initialize(network, torch.Generator().manual_seed(0))
    assert isinstance(network.prior, GaussianPrior)
    assert network.prior.parameters_of_label is not None
    with torch.no_grad():
        network.prior.parameters_of_label.weight.copy_(normal(NUM_CLASSES, 2, seed=6) / 2)
        network.decoder.first.linear.weight *= 11**0.5  # type: ignore[union-attr, operator]
    return network.requires_grad_(False)


@pytest.fixture(scope="module")
def grey_BP() -> Tensor:
    """Three random digits of black and white pixels, which binarisation leaves as they are."""
    return (normal(3, NUM_PIXELS, seed=7) > 0.5).to(torch.uint8) * 255


def truth(network: CVAE, grey_P: Tensor, label: Tensor) -> Truth:
    exact = deepcopy(network).double()
    assert isinstance(exact.prior, GaussianPrior)
    pixels_P, label_B = grey_P.double() / 255, label[None]
    q_mean_BZ, q_log_var_BZ = exact.encoder(pixels_P[None], label_B).chunk(2, dim=1)
    p_mean_BZ, p_log_var_BZ = exact.prior.moments(label_B)
    z_NZ = torch.linspace(-15, 15, 6001, dtype=torch.float64)[:, None]
    log_likelihood_N = bernoulli_log_likelihood(pixels_P, exact.decoder(z_NZ, label_B.repeat(len(z_NZ))))
    log_prior_N, log_q_N = (
        gaussian_log_density(z_NZ, p_mean_BZ, p_log_var_BZ),
        gaussian_log_density(z_NZ, q_mean_BZ, q_log_var_BZ),
    )
    log_joint_N = log_likelihood_N + log_prior_N
    highest = log_joint_N.max()

    def integral(values_N: Tensor) -> float:
        return torch.trapezoid(values_N, z_NZ[:, 0]).item()

    log_evidence = highest.item() + math.log(integral((log_joint_N - highest).exp()))
    assert integral(log_q_N.exp()) == pytest.approx(1, abs=1e-9)  # the grid is wide and fine enough
    return Truth(
        nll=-log_evidence,
        elbo=integral(log_q_N.exp() * (log_joint_N - log_q_N)),
        reconstruction=-integral(log_q_N.exp() * log_likelihood_N),
        kl=integral(log_q_N.exp() * (log_q_N - log_prior_N)),
        kl_to_posterior=integral(log_q_N.exp() * (log_q_N - log_joint_N + log_evidence)),
    )


def nll_estimates(network: CVAE, grey_BP: Tensor, num_samples: int, num_repeats: int) -> Tensor:
    """Estimate nll again and again, digits in turn; [B, N]."""
    rows, labels = grey_BP.repeat(num_repeats, 1), LABEL_B.repeat(num_repeats)
    return (
        negative_log_likelihood(network, rows, labels, num_samples, torch.Generator().manual_seed(8))
        .view(num_repeats, -1)
        .T
    )


@pytest.mark.parametrize("num_samples", [500, MOST_ROWS + 500])
def test_nll_with_many_samples_is_the_integral_over_z(
    network: CVAE, grey_BP: Tensor, num_samples: int
) -> None:
    """Several digits at a time, one in several parts. The remaining gap is half an estimate's variance."""
    for grey_P, label, nll_N in zip(
        grey_BP, LABEL_B, nll_estimates(network, grey_BP, num_samples, 60), strict=True
    ):
        mean, error = mean_and_error(nll_N)
        assert abs(mean - nll_N.var().item() / 2 - truth(network, grey_P, label).nll) < 5 * error + ROUNDING
        assert error < 0.02


def test_nll_with_few_samples_is_on_average_too_high(network: CVAE, grey_BP: Tensor) -> None:
    for grey_P, label, few_N, more_N in zip(
        grey_BP,
        LABEL_B,
        nll_estimates(network, grey_BP, 1, 2000),
        nll_estimates(network, grey_BP, 5, 2000),
        strict=True,
    ):
        (few, few_error), (more, more_error) = mean_and_error(few_N), mean_and_error(more_N)
        assert few - more > 5 * math.hypot(few_error, more_error)
        assert more - truth(network, grey_P, label).nll > 5 * more_error


def test_the_networks_elbo_and_its_parts_are_the_integrals_over_z(network: CVAE, grey_BP: Tensor) -> None:
    for grey_P, label in zip(grey_BP, LABEL_B, strict=True):
        exact = truth(network, grey_P, label)
        assert exact.elbo == pytest.approx(-exact.reconstruction - exact.kl, abs=1e-8)
        assert exact.elbo == pytest.approx(-exact.nll - exact.kl_to_posterior, abs=1e-8)

        rows, labels = grey_P.repeat(500, 1), label.repeat(500)
        runs = [bounds(network, rows, labels, torch.Generator().manual_seed(seed)) for seed in range(20)]
        for run in runs:
            assert run["elbo"] == pytest.approx(-run["reconstruction"] - run["kl"], abs=1e-9)
            assert run["kl"] == pytest.approx(exact.kl, abs=1e-5)
        mean, error = mean_and_error(vector([run["elbo"] for run in runs]))
        assert abs(mean - exact.elbo) < 5 * error + ROUNDING
        assert mean + 5 * error < -exact.nll


def test_nll_is_the_same_however_many_draws_are_decoded_at_a_time(
    network: CVAE, grey_BP: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten draws as 4, 4 and 2. The averages are compared, since the random numbers differ."""
    whole_BN = nll_estimates(network, grey_BP, 10, 200)
    monkeypatch.setattr("algorithms.cvae.likelihood.MOST_ROWS", 4)
    for whole_N, parts_N in zip(whole_BN, nll_estimates(network, grey_BP, 10, 200), strict=True):
        (whole, whole_error), (parts, parts_error) = mean_and_error(whole_N), mean_and_error(parts_N)
        assert abs(whole - parts) < 5 * math.hypot(whole_error, parts_error)
