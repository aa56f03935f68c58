import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from algorithms.gan.losses import LOSSES, discriminator_loss, non_saturating_generator_loss
from algorithms.gan.options import LOSSES as LOSS_NAMES

LOGITS = st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=8)


def logits(*probabilities: float) -> torch.Tensor:
    """Return the discriminator's logits for these probabilities; float64, so that sums by hand are exact."""
    return torch.tensor([math.log(p / (1 - p)) for p in probabilities], dtype=torch.float64)


def test_discriminator_loss_is_the_cross_entropy_of_both_halves() -> None:
    real_B, fake_B = logits(0.8, 0.5), logits(0.1, 0.4)
    by_hand = -(math.log(0.8) + math.log(0.5)) / 2 - (math.log(0.9) + math.log(0.6)) / 2
    assert discriminator_loss(real_B, fake_B).item() == pytest.approx(by_hand, rel=1e-12)


def test_smoothing_moves_the_target_of_real_digits_only() -> None:
    real_B, fake_B = logits(0.8), logits(0.1)
    by_hand = -(0.9 * math.log(0.8) + 0.1 * math.log(0.2)) - math.log(0.9)
    assert discriminator_loss(real_B, fake_B, label_smoothing=0.1).item() == pytest.approx(by_hand, rel=1e-12)


@given(smoothing=st.floats(0.01, 0.49))
def test_a_smoothed_discriminator_is_best_at_its_target(smoothing: float) -> None:
    real_B = logits(1 - smoothing).requires_grad_()
    discriminator_loss(real_B, torch.zeros(1, dtype=torch.float64), smoothing).backward()
    assert real_B.grad is not None
    assert real_B.grad.item() == pytest.approx(0, abs=1e-12)


def test_generator_loss_is_minus_log_of_the_discriminators_belief() -> None:
    loss = non_saturating_generator_loss(logits(0.2, 0.7)).item()
    assert loss == pytest.approx(-(math.log(0.2) + math.log(0.7)) / 2, rel=1e-12)


def test_generator_learns_most_where_it_is_worst() -> None:
    """d/dl of -log sigmoid(l) is sigmoid(l) - 1: about -1 for an obvious fake, about 0 for a perfect one."""
    fake_B = torch.tensor([-10.0, 10.0], requires_grad=True)
    non_saturating_generator_loss(fake_B).backward()
    assert fake_B.grad is not None
    torch.testing.assert_close(fake_B.grad * 2, torch.tensor([-1.0, 0.0]), atol=1e-4, rtol=0)


@given(real=LOGITS, fake=LOGITS, smoothing=st.floats(0, 0.49))
def test_losses_are_positive_and_finite_for_any_logits(
    real: list[float], fake: list[float], smoothing: float
) -> None:
    for value in (
        discriminator_loss(torch.tensor(real), torch.tensor(fake), smoothing),
        non_saturating_generator_loss(torch.tensor(fake)),
    ):
        assert torch.isfinite(value)
        assert value > 0


def test_every_loss_has_its_name_among_the_options() -> None:
    assert tuple(LOSSES) == LOSS_NAMES
