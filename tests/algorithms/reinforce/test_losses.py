"""REINFORCE's returns and losses: sums by hand, their gradients, and long episodes against a plain loop.

That their mean is the gradient of the return: test_reinforce_exact.py."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from algorithms.reinforce.losses import (
    ages,
    bootstrapped,
    entropy_bonus,
    normalized,
    policy_loss,
    rewards_to_go,
    total_returns,
    value_loss,
)

# Two episodes, of three steps and of two.
REWARDS_B, ENDS_B = torch.tensor([1.0, 2.0, 3.0, 10.0, 20.0]), torch.tensor([False, False, True, False, True])

GAMMAS = st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1))
NUMBERS = st.floats(-100, 100, width=32)

Episodes = list[list[float]]
"""Their rewards, step by step."""
SOME_EPISODES = st.lists(st.lists(NUMBERS, min_size=1, max_size=40), min_size=1, max_size=8)


def tensors(episodes: Episodes) -> tuple[Tensor, Tensor]:
    """Return (rewards_B, ends_B)."""
    ends = [t == len(rewards) - 1 for rewards in episodes for t in range(len(rewards))]
    return torch.tensor(list(itertools.chain(*episodes)), dtype=torch.float32), torch.tensor(ends)


def slow_rewards_to_go(episodes: Episodes, gamma: float) -> list[float]:
    """Return them step by step, backwards from every end."""
    answers = []
    for rewards in episodes:
        to_go, backwards = 0.0, []
        for reward in reversed(rewards):
            to_go = reward + gamma * to_go
            backwards.append(to_go)
        answers += backwards[::-1]
    return answers


def slow_total_returns(episodes: Episodes, gamma: float) -> list[float]:
    """Return the same sum for every step of an episode."""
    return [
        sum(gamma**t * reward for t, reward in enumerate(rewards)) for rewards in episodes for _ in rewards
    ]


def assert_as_slow(sums_B: Tensor, episodes: Episodes, slow: list[float], gamma: float) -> None:
    """Compare within float32's precision of the largest sum that rewards of these sizes can have."""
    largest = max(slow_rewards_to_go([[abs(reward) for reward in rewards] for rewards in episodes], gamma))
    assert sums_B.dtype == torch.float32
    np.testing.assert_allclose(sums_B.numpy(), slow, rtol=0, atol=1e-5 * largest + 1e-30)


def test_rewards_to_go_by_hand() -> None:
    """3, 2 + 0.5 * 3, 1 + 0.5 * 3.5; and 20, 10 + 0.5 * 20, of which the first episode hears nothing."""
    torch.testing.assert_close(
        rewards_to_go(REWARDS_B, ENDS_B, 0.5), torch.tensor([2.75, 3.5, 3.0, 20.0, 20.0])
    )


def test_ages_by_hand() -> None:
    assert ages(ENDS_B).tolist() == [0, 1, 2, 0, 1]
    assert ages(torch.tensor([True, True, False, True])).tolist() == [0, 0, 0, 1]  # two episodes of one step
    assert ages(torch.tensor([True])).tolist() == [0]
    assert ages(ENDS_B).dtype == torch.int64


def test_total_returns_by_hand() -> None:
    """1 + 0.5 * 2 + 0.25 * 3 for all three steps, 10 + 0.5 * 20 for both."""
    torch.testing.assert_close(
        total_returns(REWARDS_B, ENDS_B, 0.5), torch.tensor([2.75, 2.75, 2.75, 20.0, 20.0])
    )


def test_without_discount_every_reward_counts_in_full_and_with_gamma_0_the_next_one_alone() -> None:
    assert rewards_to_go(REWARDS_B, ENDS_B, 1.0).tolist() == [6, 5, 3, 30, 20]
    assert total_returns(REWARDS_B, ENDS_B, 1.0).tolist() == [6, 6, 6, 30, 30]
    assert rewards_to_go(REWARDS_B, ENDS_B, 0.0).tolist() == [1, 2, 3, 10, 20]
    assert total_returns(REWARDS_B, ENDS_B, 0.0).tolist() == [1, 1, 1, 10, 10]


@pytest.mark.parametrize("gamma", [0.0, 0.9, 1.0])
def test_episodes_of_one_step_return_their_reward(gamma: float) -> None:
    for rewards_B in (torch.tensor([7.0]), torch.tensor([7.0, -8.0, 9.0])):
        ends_B = torch.ones(len(rewards_B), dtype=torch.bool)
        assert torch.equal(rewards_to_go(rewards_B, ends_B, gamma), rewards_B)
        assert torch.equal(total_returns(rewards_B, ends_B, gamma), rewards_B)


@settings(deadline=None)
@given(episodes=SOME_EPISODES, gamma=GAMMAS)
def test_returns_and_ages_are_those_of_a_slow_loop(episodes: Episodes, gamma: float) -> None:
    rewards_B, ends_B = tensors(episodes)
    assert_as_slow(
        rewards_to_go(rewards_B, ends_B, gamma), episodes, slow_rewards_to_go(episodes, gamma), gamma
    )
    assert_as_slow(
        total_returns(rewards_B, ends_B, gamma), episodes, slow_total_returns(episodes, gamma), gamma
    )
    assert ages(ends_B).tolist() == [t for rewards in episodes for t in range(len(rewards))]


@pytest.mark.parametrize("gamma", [0.0, 0.9, 0.999, 1.0])
@pytest.mark.parametrize("lengths", [[500], [511, 1, 512, 1, 513], [1, 1500, 2, 700]], ids=str)
def test_so_are_those_of_long_episodes(lengths: list[int], gamma: float) -> None:
    rng = np.random.default_rng(0)
    episodes = [rng.normal(size=length).tolist() for length in lengths]
    rewards_B, ends_B = tensors(episodes)
    assert_as_slow(
        rewards_to_go(rewards_B, ends_B, gamma), episodes, slow_rewards_to_go(episodes, gamma), gamma
    )
    assert_as_slow(
        total_returns(rewards_B, ends_B, gamma), episodes, slow_total_returns(episodes, gamma), gamma
    )
    assert ages(ends_B).tolist() == [t for length in lengths for t in range(length)]


def test_a_thousand_rewards_of_1_are_exactly_a_thousand_to_go() -> None:
    ends_B = torch.arange(1000) == 999
    assert rewards_to_go(torch.ones(1000), ends_B, 1.0).tolist() == list(range(1000, 0, -1))


@settings(deadline=None)
@given(episodes=SOME_EPISODES, gamma=GAMMAS)
def test_no_episode_hears_of_another_and_the_rewards_stay_as_they_were(
    episodes: Episodes, gamma: float
) -> None:
    rewards_B, ends_B = tensors(episodes)
    before_B = rewards_B.clone()
    for returns_of in (rewards_to_go, total_returns):
        alone = torch.cat([returns_of(*tensors([rewards]), gamma) for rewards in episodes])
        assert torch.equal(returns_of(rewards_B, ends_B, gamma), alone)
    assert torch.equal(rewards_B, before_B)


def test_bootstrapped_by_hand() -> None:
    """The second episode was cut where the value is 4: its last reward is 20 + 0.5 * 4. The first ended."""
    rewards_B = REWARDS_B.clone()
    with_values_B = bootstrapped(
        rewards_B, ENDS_B, torch.tensor([False, True]), torch.tensor([100.0, 4.0]), 0.5
    )
    assert with_values_B.tolist() == [1, 2, 3, 10, 22]
    assert rewards_to_go(with_values_B, ENDS_B, 0.5).tolist() == [
        2.75,
        3.5,
        3,
        21,
        22,
    ]  # as if an episode went on to a return of 4
    assert torch.equal(rewards_B, REWARDS_B)


def test_what_terminated_has_no_future_whatever_its_value_is() -> None:
    last_values_E = torch.tensor([float("nan"), float("inf")])
    assert torch.equal(
        bootstrapped(REWARDS_B, ENDS_B, torch.zeros(2, dtype=torch.bool), last_values_E, 0.5), REWARDS_B
    )


@settings(deadline=None)
@given(episodes=SOME_EPISODES, gamma=GAMMAS, data=st.data())
def test_bootstrapping_is_one_more_reward_where_a_time_limit_cut(
    episodes: Episodes, gamma: float, data: st.DataObject
) -> None:
    """An episode with one more step has the same returns, if its last reward is the predicted value."""
    truncated = [data.draw(st.booleans()) for _ in episodes]
    last_values = [data.draw(NUMBERS) for _ in episodes]
    longer = [
        [*rewards, value] if cut else rewards
        for rewards, cut, value in zip(episodes, truncated, last_values, strict=True)
    ]
    in_longer = [
        step < len(one) for one, other in zip(episodes, longer, strict=True) for step in range(len(other))
    ]
    by_hand = np.array(slow_rewards_to_go(longer, gamma))[in_longer]
    rewards_B, ends_B = tensors(episodes)
    with_values_B = bootstrapped(rewards_B, ends_B, torch.tensor(truncated), torch.tensor(last_values), gamma)
    assert_as_slow(rewards_to_go(with_values_B, ends_B, gamma), longer, by_hand.tolist(), gamma)


def test_normalized_by_hand() -> None:
    """Mean 4 and standard deviation 2; of four numbers and not of a sample of four, which would be 2.31."""
    torch.testing.assert_close(
        normalized(torch.tensor([2.0, 2.0, 6.0, 6.0])), torch.tensor([-1.0, -1.0, 1.0, 1.0])
    )


def test_advantages_that_do_not_differ_are_normalized_to_0() -> None:
    for advantages_B in (torch.tensor([7.0]), torch.full((5,), -3.0), torch.zeros(2)):
        assert torch.equal(normalized(advantages_B), torch.zeros(len(advantages_B)))


@given(advantages=st.lists(NUMBERS, min_size=2, max_size=30), scale=st.floats(0.1, 10), shift=NUMBERS)
def test_normalized_has_mean_0_and_deviation_1_wherever_it_came_from(
    advantages: list[float], scale: float, shift: float
) -> None:
    advantages_B = torch.tensor(advantages, dtype=torch.float64)
    if advantages_B.std(correction=0) < 0.1:
        return
    normalized_B = normalized(advantages_B)
    torch.testing.assert_close(normalized_B.mean(), torch.zeros((), dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(
        normalized_B.std(correction=0), torch.ones((), dtype=torch.float64), atol=1e-6, rtol=0
    )
    torch.testing.assert_close(normalized(scale * advantages_B + shift), normalized_B, atol=1e-5, rtol=0)


def test_policy_loss_by_hand() -> None:
    """-(-1 * 2 + -2 * -3 + -0.5 * 4) / 2 = -1; the gradient of each log-probability is -A / 2."""
    log_probs_B = torch.tensor([-1.0, -2.0, -0.5], requires_grad=True)
    advantages_B = torch.tensor([2.0, -3.0, 4.0], requires_grad=True)
    loss = policy_loss(log_probs_B, advantages_B, 2)
    torch.testing.assert_close(loss, torch.tensor(-1.0))
    loss.backward()
    torch.testing.assert_close(log_probs_B.grad, torch.tensor([-1.0, 1.5, -2.0]))
    assert advantages_B.grad is None  # what an action earned is no matter of the policy's


def test_the_gradient_of_a_softmax_by_hand() -> None:
    """pi = (1/4, 3/4). The logits raise log pi(0) by (3/4, -3/4), and the loss falls by 8 times that / 2."""
    logits_A = torch.tensor([0.0, math.log(3.0)], requires_grad=True)
    policy_loss(logits_A.log_softmax(0)[:1], torch.tensor([8.0]), 2).backward()
    torch.testing.assert_close(logits_A.grad, torch.tensor([-3.0, 3.0]))


def test_losses_are_sums_over_what_was_asked_for_and_not_over_what_came() -> None:
    log_probs_B, advantages_B = torch.tensor([-1.0, -2.0]), torch.tensor([2.0, -3.0])
    once, twice = (
        policy_loss(log_probs_B, advantages_B, 4),
        policy_loss(log_probs_B.repeat(2), advantages_B.repeat(2), 4),
    )
    torch.testing.assert_close(once, torch.tensor(-1.0))  # -(-2 + 6) / 4
    torch.testing.assert_close(twice, 2 * once)
    torch.testing.assert_close(
        entropy_bonus(advantages_B.abs().repeat(2), 4), 2 * entropy_bonus(advantages_B.abs(), 4)
    )


def test_entropy_bonus_by_hand() -> None:
    """(0.5 + 0.25 + 0.25) / 4, which grows by 1/4 with every entropy."""
    entropies_B = torch.tensor([0.5, 0.25, 0.25], requires_grad=True)
    bonus = entropy_bonus(entropies_B, 4)
    torch.testing.assert_close(bonus, torch.tensor(0.25))
    bonus.backward()
    torch.testing.assert_close(entropies_B.grad, torch.full((3,), 0.25))


def test_value_loss_by_hand() -> None:
    """Half the mean of 4, 0 and 1; the gradient is the error over three."""
    values_B = torch.tensor([1.0, 2.0, 1.0], requires_grad=True)
    loss = value_loss(values_B, torch.tensor([3.0, 2.0, 0.0]))
    torch.testing.assert_close(loss, torch.tensor(5 / 6))
    loss.backward()
    torch.testing.assert_close(values_B.grad, torch.tensor([-2.0, 0.0, 1.0]) / 3)


def test_every_loss_is_a_scalar() -> None:
    B = torch.randn(7)
    assert policy_loss(B, B, 3).shape == entropy_bonus(B, 3).shape == value_loss(B, B).shape == ()
