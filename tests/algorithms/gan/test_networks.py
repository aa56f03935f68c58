import pytest
import torch

from algorithms.gan.networks import Discriminator, Generator, initialize


@pytest.mark.parametrize(("latent_size", "width"), [(96, 32), (5, 8)])
def test_shapes_and_range(latent_size: int, width: int) -> None:
    images = Generator(latent_size, width)(torch.rand(3, latent_size))
    assert images.shape == (3, 1, 28, 28)
    assert images.abs().max() <= 1
    assert Discriminator(width)(images).shape == (3,)


def test_the_reference_setting_has_its_number_of_parameters() -> None:
    """Layer by layer: weights + biases, and two numbers per feature for batch normalisation."""
    generator = 96 * 1024 + 1024 + 2 * 1024  # noise to 1024
    generator += 1024 * 6272 + 6272 + 2 * 6272  # to 7 * 7 * 128
    generator += 128 * 64 * 4 * 4 + 64 + 2 * 64  # up to 14 x 14
    generator += 64 * 1 * 4 * 4 + 1  # up to 28 x 28
    discriminator = 32 * 5 * 5 + 32 + 64 * 32 * 5 * 5 + 64 + 1024 * 1024 + 1024 + 1024 + 1
    assert sum(p.numel() for p in Generator(96, 32).parameters()) == generator
    assert sum(p.numel() for p in Discriminator(32).parameters()) == discriminator


def test_initialisation_is_xaviers_and_follows_its_generator_alone() -> None:
    def drawn(seed: int) -> torch.Tensor:
        torch.rand(1)  # whatever the global state
        network = Discriminator(8)
        initialize(network, torch.Generator().manual_seed(seed))
        return torch.cat([p.flatten() for p in network.parameters()])

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))

    network = Discriminator(32)
    initialize(network, torch.Generator().manual_seed(0))
    weight, bias = network.layers[7].weight, network.layers[7].bias
    bound = (6 / (1024 + 1024)) ** 0.5
    assert weight.abs().max() <= bound
    assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.01)  # a uniform's
    assert not bias.any()
