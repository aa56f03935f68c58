import math
from dataclasses import replace

import pytest
import torch
from small_models import CONV_CVAE, CVAE, trained

from algorithms import mnist
from algorithms.cvae import CVAEOptions, CVAETrainer
from algorithms.cvae.likelihood import binarise, bounds, measure, negative_log_likelihood
from algorithms.cvae.sampling import trained_network


def test_binarisation_draws_each_pixel_afresh_with_its_grey_level() -> None:
    grey = torch.tensor([[0, 51, 255]], dtype=torch.uint8).repeat(20_000, 1)
    generator = torch.Generator().manual_seed(0)
    drawn = binarise(grey, generator)
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert drawn[:, 0].sum() == 0
    assert drawn[:, 2].sum() == 20_000
    assert drawn[:, 1].mean().item() == pytest.approx(0.2, abs=5 * (0.2 * 0.8 / 20_000) ** 0.5)
    assert not torch.equal(drawn, binarise(grey, generator))


@pytest.mark.parametrize("options", [CVAE, CONV_CVAE], ids=["mlp", "conv"])
def test_the_likelihood_is_the_same_in_chunks_of_any_size(
    digits: mnist.MNIST, options: CVAEOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is random where the posterior is the prior and the decoder ignores z.

    A likelihood is a sum of 784 equal terms, so fp32 knows it to 784 eps, whatever the order of the sum. One
    draw too few of 11 would change it by log(11 / 10), twice as much.
    """
    rounding = 784 * torch.finfo(torch.float32).eps
    network = trained_network(CVAETrainer(options, digits).state_dict())
    for parameter in network.parameters():
        parameter.zero_()
    grey, label = (
        torch.from_numpy(digits.test_images[:7] // 128 * 255).flatten(1),
        torch.from_numpy(digits.test_labels[:7].copy()),
    )
    done: list[tuple[int, int]] = []
    for most_rows in (1, 5, 20, 2000):
        monkeypatch.setattr("algorithms.cvae.likelihood.MOST_ROWS", most_rows)
        generator = torch.Generator().manual_seed(0)
        nll = negative_log_likelihood(
            network, grey, label, 11, generator, progress=lambda *progress: done.append(progress)
        )
        torch.testing.assert_close(
            nll, torch.full((7,), 784 * math.log(2), dtype=torch.float64), rtol=rounding, atol=0
        )
        assert done[-1] == (7, 7)
        values = bounds(network, grey, label, generator)
        assert values == {
            "elbo": pytest.approx(-784 * math.log(2), rel=rounding),
            "reconstruction": pytest.approx(784 * math.log(2), rel=rounding),
            "kl": 0,
            "active_units": 0,
        }


def test_no_more_draws_are_decoded_at_a_time_than_memory_holds(digits: mnist.MNIST) -> None:
    network = trained_network(CVAETrainer(CVAE, digits).state_dict())
    rows: list[int] = []
    network.decoder.register_forward_hook(lambda module, inputs, output: rows.append(len(output)))
    grey, label = (
        torch.from_numpy(digits.test_images[:3].copy()).flatten(1),
        torch.from_numpy(digits.test_labels[:3].copy()),
    )
    negative_log_likelihood(network, grey, label, 4500, torch.Generator().manual_seed(0))
    assert rows == [2000, 2000, 500] * 3


def test_bf16_moves_a_likelihood_by_next_to_nothing(digits: mnist.MNIST) -> None:
    network = trained_network(trained(replace(CVAE, width=64), digits, num_updates=100).state_dict())
    grey, label = (
        torch.from_numpy(digits.test_images[:50].copy()).flatten(1),
        torch.from_numpy(digits.test_labels[:50].copy()),
    )
    nlls = {}
    for precision in ("fp32", "bf16"):
        nlls[precision] = negative_log_likelihood(
            network, grey, label, 50, torch.Generator().manual_seed(0), precision
        )
    assert not torch.equal(nlls["fp32"], nlls["bf16"])
    difference = abs(nlls["fp32"].mean() - nlls["bf16"].mean()) / nlls["fp32"].mean()
    assert difference < 2**-8, (
        "bf16 has 8 bits: a logit is off by 2^-9 of itself, and logits' errors average out"
    )


def test_what_is_measured_on_test_digits_has_its_standard_error(digits: mnist.MNIST) -> None:
    state = trained(CVAE, digits, num_updates=20).state_dict()
    images, labels = digits.test_images[:60], digits.test_labels[:60]
    few, many = (measure(state, images, labels, num_samples, seed=0) for num_samples in (1, 200))
    assert many["nll"] < few["nll"], "more draws are a tighter bound"
    assert many["num_digits"] == 60
    assert many["num_nll_samples"] == 200
    network = trained_network(state)
    generator = torch.Generator().manual_seed(0)
    grey, label = torch.from_numpy(images.copy()).flatten(1), torch.from_numpy(labels.copy())
    bounds(network, grey, label, generator)
    nll = negative_log_likelihood(network, grey, label, 200, generator)
    assert many["nll"] == pytest.approx(nll.mean().item())
    assert many["nll_standard_error"] == pytest.approx(nll.std().item() / 60**0.5)
