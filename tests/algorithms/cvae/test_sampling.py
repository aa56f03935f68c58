import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_models import CVAE, trained

from algorithms import mnist
from algorithms.cvae import CVAEOptions, CVAETrainer
from algorithms.cvae.priors import GaussianPrior
from algorithms.cvae.sampling import decode, draw, manifold, plan, samples, trained_network

CPU = torch.device("cpu")


def test_the_manifold_lies_evenly_over_the_priors_quantiles() -> None:
    network = CVAETrainer(replace(CVAE, latent_size=2), mnist.load("mnist-10k")).network
    seen: list[torch.Tensor] = []
    network.logits = lambda z, label: (seen.append(z), torch.zeros(len(z), 784))[1]  # type: ignore[method-assign, assignment]
    assert manifold(network, 4, CPU).shape == (10, 4, 4, 28, 28)
    z = torch.cat(seen).unflatten(0, (10, 4, 4))
    normal = torch.distributions.Normal(0.0, 1.0)
    torch.testing.assert_close(normal.cdf(z[3, :, 0, 0]), torch.tensor([0.125, 0.375, 0.625, 0.875]))
    torch.testing.assert_close(z[3, 0, :, 1], z[7, :, 0, 0])


def test_samples_are_pictures_of_the_labels_asked_for(digits: mnist.MNIST) -> None:
    state = trained(CVAE, digits).state_dict()
    images, labels = samples(state, 1003, None, seed=0)  # more than one chunk
    assert (images.shape, images.dtype) == ((1003, 28, 28), np.uint8)
    assert labels is not None
    assert labels.tolist() == [index % 10 for index in range(1003)]
    fours, labels = samples(state, 5, 4, seed=0)
    assert labels is not None
    assert (labels.dtype, labels.tolist()) == (np.int64, [4] * 5)
    again = draw(trained_network(state), torch.full((5,), 4), torch.Generator().manual_seed(0))
    assert np.array_equal(fours, again.numpy())


def test_a_learned_prior_shifts_and_scales_what_is_drawn() -> None:
    network = trained_network(
        CVAETrainer(replace(CVAE, prior="learned"), mnist.load("mnist-10k")).state_dict()
    )
    seen: list[torch.Tensor] = []
    network.logits = lambda z, label: (seen.append(z), torch.zeros(len(z), 784))[1]  # type: ignore[method-assign, assignment]
    assert isinstance(network.prior, GaussianPrior)
    assert network.prior.parameters_of_label is not None
    network.prior.parameters_of_label.weight[6] = torch.tensor([1.0, 2.0, 3.0, 0.0, math.log(4), -100.0])
    draw(network, torch.full((2000,), 6), torch.Generator().manual_seed(0))
    z = torch.cat(seen)
    torch.testing.assert_close(z.mean(dim=0), torch.tensor([1.0, 2.0, 3.0]), atol=0.2, rtol=0)
    torch.testing.assert_close(z.std(dim=0), torch.tensor([1.0, 2.0, 0.0]), atol=0.1, rtol=0)


@pytest.mark.parametrize("prior", ["standard", "learned", "flow"])
def test_what_a_cvae_draws_is_decoded_from_the_plan(digits: mnist.MNIST, prior: str) -> None:
    trainer = CVAETrainer(CVAEOptions(width=16, latent_size=3, prior=prior), digits)  # type: ignore[arg-type]
    trainer.train(3)
    network = trained_network(trainer.state_dict())
    for layout in ("draws", "grid", "interpolation"):
        noise_BZ, label_B = plan(layout, 40, 3, torch.Generator().manual_seed(5))
        images, labels = samples(trainer.state_dict(), 40, None, 5, layout=layout)
        np.testing.assert_array_equal(images, decode(network, noise_BZ, label_B).numpy())
        np.testing.assert_array_equal(labels, label_B.numpy())
    sevens, labels = samples(trainer.state_dict(), 40, 7, 5, layout="interpolation")
    assert set(np.unique(labels)) == {7}
    np.testing.assert_array_equal(sevens, decode(network, noise_BZ, torch.full((40,), 7)).numpy())
