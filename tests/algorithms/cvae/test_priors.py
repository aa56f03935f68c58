import math

import pytest
import torch
from torch import Tensor

from algorithms.cvae.losses import active_units, gaussian_kl
from algorithms.cvae.networks import CVAE, initialize
from algorithms.cvae.options import CVAEOptions
from algorithms.cvae.priors import FlowPrior, GaussianPrior

LABEL_B = torch.arange(10)


def prior(kind: str, latent_size: int = 5, std: float = 0.2) -> GaussianPrior | FlowPrior:
    """A prior of the kind in float64, with weights that are no identity any more."""
    made = CVAE(CVAEOptions(width=4, latent_size=latent_size, prior=kind)).prior.double()  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=std, generator=generator)
    return made


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("kind", ["standard", "learned", "flow"])
@pytest.mark.parametrize("latent_size", [2, 5])
def test_z_and_noise_are_maps_of_one_another(kind: str, latent_size: int) -> None:
    made, noise_BZ = prior(kind, latent_size), normal(10, latent_size)
    torch.testing.assert_close(made.to_noise(made.to_z(noise_BZ, LABEL_B), LABEL_B), noise_BZ)
    if kind == "standard":
        assert torch.equal(made.to_z(noise_BZ, LABEL_B), noise_BZ)


@pytest.mark.parametrize("kind", ["standard", "learned", "flow"])
def test_the_density_is_that_of_the_noise_times_the_maps_volume_change(kind: str) -> None:
    """log p(z) = log N(noise; 0, I) + log |d noise / d z|, its derivative by autograd, whole."""
    made, z_BZ = prior(kind), normal(10, 5)
    for label in range(10):
        label_1 = torch.tensor([label])
        noise_1Z = made.to_noise(z_BZ[label : label + 1], label_1)
        jacobian_ZZ = torch.autograd.functional.jacobian(
            lambda z_Z, label_1=label_1: made.to_noise(z_Z[None], label_1)[0], z_BZ[label]
        )
        expected = (
            -(noise_1Z.square().sum() + 5 * math.log(2 * math.pi)) / 2
            + torch.linalg.slogdet(jacobian_ZZ).logabsdet
        )
        torch.testing.assert_close(made.log_density(z_BZ[label : label + 1], label_1)[0], expected)


@pytest.mark.slow
def test_a_flows_density_integrates_to_one() -> None:
    """Two units, on a grid that leaves out next to nothing."""
    made = prior("flow", latent_size=2, std=0.1)
    axis = torch.linspace(-12, 12, 601, dtype=torch.float64)
    z_NZ = torch.cartesian_prod(axis, axis)
    total = made.log_density(z_NZ, torch.full((len(z_NZ),), 3)).exp().sum() * (axis[1] - axis[0]) ** 2
    assert total.item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("kind", ["standard", "learned", "flow"])
def test_draws_have_a_density_each_however_they_are_stacked(kind: str) -> None:
    made, z_KBZ = prior(kind), normal(3, 10, 5)
    stacked_KB = made.log_density(z_KBZ, LABEL_B)
    assert stacked_KB.shape == (3, 10)
    for k in range(3):
        torch.testing.assert_close(stacked_KB[k], made.log_density(z_KBZ[k], LABEL_B))


@pytest.mark.parametrize("kind", ["learned", "flow"])
def test_every_prior_starts_as_the_standard_one_and_knows_its_label_after(kind: str) -> None:
    network = CVAE(CVAEOptions(width=4, latent_size=5, prior=kind))  # type: ignore[arg-type]
    initialize(network, torch.Generator().manual_seed(0))
    z_BZ = torch.randn(10, 5, generator=torch.Generator().manual_seed(1))
    standard = GaussianPrior(5, learned=False)
    torch.testing.assert_close(network.prior.log_density(z_BZ, LABEL_B), standard.log_density(z_BZ, LABEL_B))
    made = prior(kind)
    same_BZ = normal(1, 5).expand(10, -1)
    assert len(made.log_density(same_BZ, LABEL_B).unique()) == 10


def test_a_gaussians_kl_is_exact_and_a_flows_is_so_on_average() -> None:
    """A flow that is still a Gaussian has a closed form, within 5 standard errors of 20,000 draws' mean."""
    mean_BZ, log_var_BZ = normal(1, 5, seed=2), normal(1, 5, seed=3) / 2
    label_B = torch.tensor([4])
    flow = FlowPrior(5).double()
    for coupling in flow.couplings:
        torch.nn.init.zeros_(coupling.last.weight)  # type: ignore[union-attr, arg-type]
        torch.nn.init.zeros_(coupling.last.bias)  # type: ignore[union-attr, arg-type]
    assert flow.gaussian.parameters_of_label is not None
    torch.nn.init.zeros_(flow.gaussian.parameters_of_label.weight)
    zeros_BZ = torch.zeros(1, 5, dtype=torch.float64)
    exact = gaussian_kl(mean_BZ, log_var_BZ, zeros_BZ, zeros_BZ)
    torch.testing.assert_close(
        GaussianPrior(5, learned=False).kl(mean_BZ, log_var_BZ, zeros_BZ, label_B), exact
    )

    z_NZ = mean_BZ + (log_var_BZ / 2).exp() * normal(20_000, 5, seed=4)
    sampled_N = flow.kl(mean_BZ, log_var_BZ, z_NZ, label_B)
    error = sampled_N.std() / len(sampled_N) ** 0.5
    assert abs(sampled_N.mean() - exact) < 5 * error


def test_a_unit_that_only_knows_its_label_is_not_active() -> None:
    """A posterior that collapsed onto a learned prior has no active unit, though its mean varies by label."""
    made = prior("learned", std=2.0)
    assert isinstance(made, GaussianPrior)
    mean_BZ, _ = made.moments(LABEL_B)
    assert active_units(mean_BZ) == 5
    assert active_units(made.to_noise(mean_BZ, LABEL_B)) == 0


def test_a_flow_of_one_unit_is_refused() -> None:
    with pytest.raises(ValueError, match="prior flow excludes latent_size 1"):
        CVAEOptions(prior="flow", latent_size=1)
