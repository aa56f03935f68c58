from dataclasses import replace

import pytest
import torch

from algorithms.cvae.networks import CVAE, Conditioned, initialize
from algorithms.cvae.options import CVAEOptions

BOTH = pytest.mark.parametrize(
    "options",
    [CVAEOptions(width=20, latent_size=3), CVAEOptions(architecture="conv", width=32, latent_size=3)],
)


def made(options: CVAEOptions, seed: int = 0) -> CVAE:
    network = CVAE(options)
    initialize(network, torch.Generator().manual_seed(seed))
    return network


def num_parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_reference_setting_has_its_number_of_parameters() -> None:
    """Inputs 784 + 10 and 20 + 10 (10 for the label), two hidden layers of 400, outputs 20 + 20 and 784."""
    encoder = (784 + 10) * 400 + 400 + 400 * 400 + 400 + 400 * 40 + 40
    decoder = (20 + 10) * 400 + 400 + 400 * 400 + 400 + 400 * 784 + 784
    assert num_parameters(CVAE(CVAEOptions())) == encoder + decoder


def test_a_conditioned_layer_is_a_linear_layer_of_the_input_and_a_one_hot_label() -> None:
    layer = Conditioned(3, 4)
    x_BI, label_B = torch.randn(5, 3), torch.tensor([0, 9, 4, 4, 1])
    joined = torch.cat([x_BI, torch.nn.functional.one_hot(label_B, 10)], dim=1)
    weight = torch.cat([layer.linear.weight, layer.label.weight.T], dim=1)
    torch.testing.assert_close(
        layer(x_BI, label_B), torch.nn.functional.linear(joined, weight, layer.linear.bias)
    )


@BOTH
@pytest.mark.parametrize("depth", [1, 3])
def test_shapes(options: CVAEOptions, depth: int) -> None:
    network = made(replace(options, depth=depth))
    label_B = torch.arange(5)
    mean_BZ, log_var_BZ = network.posterior(torch.rand(5, 784), label_B)
    assert mean_BZ.shape == log_var_BZ.shape == (5, 3)
    assert network.logits(mean_BZ, label_B).shape == (5, 784)


@BOTH
def test_every_parameter_matters(options: CVAEOptions) -> None:
    """Each has a gradient that is not zero, once the residual blocks are no identities any more."""
    network = made(options)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=torch.Generator().manual_seed(0))
    label_B = torch.arange(10)
    mean_BZ, log_var_BZ = network.posterior(torch.rand(10, 784), label_B)
    (network.logits(mean_BZ, label_B).square().sum() + log_var_BZ.square().sum()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0, name


@BOTH
def test_the_label_goes_into_both_networks(options: CVAEOptions) -> None:
    network, zeros, ones = made(options), torch.zeros(1, dtype=torch.long), torch.ones(1, dtype=torch.long)
    pixels_BP, z_BZ = torch.rand(1, 784), torch.randn(1, 3)
    assert not torch.equal(network.posterior(pixels_BP, zeros)[0], network.posterior(pixels_BP, ones)[0])
    assert not torch.equal(network.logits(z_BZ, zeros), network.logits(z_BZ, ones))


@BOTH
def test_initialisation_follows_its_generator_alone(options: CVAEOptions) -> None:
    def drawn(seed: int) -> torch.Tensor:
        torch.rand(1)  # whatever the global state
        return torch.cat([parameter.flatten() for parameter in made(options, seed).parameters()])

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


def test_initial_weights_are_of_torchs_own_size() -> None:
    """Uniform in +-1 / sqrt(inputs), of which a transposed convolution with stride 2 has a quarter."""
    network = made(CVAEOptions(architecture="conv", width=256))
    ups = [module for module in network.modules() if isinstance(module, torch.nn.ConvTranspose2d)]
    assert [up.weight.shape for up in ups] == [(32, 16, 4, 4)]
    for weight, inputs in ((network.encoder.hidden.linear.weight, 49 * 32), (ups[0].weight, 32 * 4)):
        assert weight.abs().max() <= inputs**-0.5
        assert weight.std().item() == pytest.approx((3 * inputs) ** -0.5, rel=0.02)
