"""DQN's targets and losses: sums by hand, their gradients, and what must have none."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from algorithms.dqn.losses import double_q_targets, q_targets, td_loss

REWARDS = st.floats(-100, 100, width=32)
VALUES_3 = st.lists(st.floats(-100, 100, width=32), min_size=3, max_size=3)


def test_q_targets_by_hand() -> None:
    """1 + 0.5 * max(3, 4) = 3, and -2 + 0.9 * max(10, -7) = 7."""
    next_q_target_BA = torch.tensor([[3.0, 4.0], [10.0, -7.0]])
    targets_B = q_targets(torch.tensor([1.0, -2.0]), torch.tensor([0.5, 0.9]), next_q_target_BA)
    torch.testing.assert_close(targets_B, torch.tensor([3.0, 7.0]))


def test_double_q_targets_by_hand() -> None:
    """The online network prefers actions 2 and 0; the target network values them at 4 and 10."""
    next_q_online_BA = torch.tensor([[1.0, 2.0, 3.0], [0.5, 0.0, -0.5]])
    next_q_target_BA = torch.tensor([[9.0, 8.0, 4.0], [10.0, 30.0, 20.0]])
    targets_B = double_q_targets(
        torch.tensor([1.0, -2.0]), torch.tensor([0.5, 0.9]), next_q_online_BA, next_q_target_BA
    )
    torch.testing.assert_close(targets_B, torch.tensor([3.0, 7.0]))  # 1 + 0.5 * 4, and -2 + 0.9 * 10


def test_terminated_drops_the_future_and_truncated_keeps_it() -> None:
    """Three equal steps, gamma 0.5: one goes on, a time limit cuts one, one terminates and has no future."""
    gamma, terminated_B = 0.5, torch.tensor([False, False, True])  # a truncated one is not terminated
    reward_B, discount_B = torch.ones(3), gamma * (~terminated_B).float()
    next_q_BA = torch.tensor([1.0, 4.0]).expand(3, 2)
    by_hand_B = torch.tensor([3.0, 3.0, 1.0])  # 1 + 0.5 * 4 twice, and 1
    torch.testing.assert_close(q_targets(reward_B, discount_B, next_q_BA), by_hand_B)
    torch.testing.assert_close(double_q_targets(reward_B, discount_B, next_q_BA, next_q_BA), by_hand_B)


@given(reward=REWARDS, online_A=VALUES_3, target_A=VALUES_3)
def test_without_a_future_the_target_is_the_reward(
    reward: float, online_A: list[float], target_A: list[float]
) -> None:
    reward_B, discount_B, online_BA, target_BA = (
        torch.tensor([reward]),
        torch.zeros(1),
        torch.tensor([online_A]),
        torch.tensor([target_A]),
    )
    assert torch.equal(q_targets(reward_B, discount_B, target_BA), reward_B)
    assert torch.equal(double_q_targets(reward_B, discount_B, online_BA, target_BA), reward_B)


@given(reward=REWARDS, online_A=VALUES_3, target_A=VALUES_3, gamma=st.floats(0, 1, width=32))
def test_double_q_never_promises_more(
    reward: float, online_A: list[float], target_A: list[float], gamma: float
) -> None:
    """No action's value is above the largest one; with one network for both it is the largest one."""
    reward_B, discount_B, online_BA, target_BA = map(
        torch.tensor, ([reward], [gamma], [online_A], [target_A])
    )
    single_B = q_targets(reward_B, discount_B, target_BA)
    assert (double_q_targets(reward_B, discount_B, online_BA, target_BA) <= single_B).all()
    assert torch.equal(double_q_targets(reward_B, discount_B, target_BA, target_BA), single_B)


def test_td_loss_by_hand() -> None:
    """Errors of 0.5, -0.5 and 3 in the actions taken; what the other actions say is nobody's business."""
    q_BA = torch.tensor([[1.5, 99.0], [-99.0, 0.5], [5.0, 99.0]])
    action_B, target_B = torch.tensor([0, 1, 0]), torch.tensor([1.0, 1.0, 2.0])
    torch.testing.assert_close(
        td_loss(q_BA, action_B, target_B, "mse"), torch.tensor((0.25 + 0.25 + 9.0) / 3)
    )
    torch.testing.assert_close(
        td_loss(q_BA, action_B, target_B, "huber"), torch.tensor((0.125 + 0.125 + 2.5) / 3)
    )


def test_the_gradient_of_mse_is_twice_the_error_and_hubers_is_the_error_clipped() -> None:
    """Of a mean over three, so by 3; nothing for the actions that were not taken."""
    action_B, target_B = torch.tensor([0, 1, 0]), torch.tensor([1.0, 1.0, 2.0])
    for loss_fn, by_hand in (
        ("mse", [[1.0, 0.0], [0.0, -1.0], [6.0, 0.0]]),  # errors of 0.5, -0.5 and 3
        ("huber", [[0.5, 0.0], [0.0, -0.5], [1.0, 0.0]]),
    ):
        q_BA = torch.tensor([[1.5, 99.0], [-99.0, 0.5], [5.0, 99.0]], requires_grad=True)
        td_loss(q_BA, action_B, target_B, loss_fn).backward()
        torch.testing.assert_close(q_BA.grad, torch.tensor(by_hand) / 3)


@given(error=st.floats(-50, 50, width=32))
def test_huber_is_half_the_square_near_zero_and_a_line_beyond(error: float) -> None:
    loss = td_loss(torch.tensor([[error]]), torch.tensor([0]), torch.tensor([0.0]), "huber").item()
    assert loss == pytest.approx(error**2 / 2 if abs(error) <= 1 else abs(error) - 0.5, rel=1e-5, abs=1e-30)


def test_no_gradient_flows_through_the_targets() -> None:
    next_q_BA = torch.tensor([[1.0, 4.0]], requires_grad=True)
    reward_B, discount_B = torch.ones(1, requires_grad=True), torch.full((1,), 0.5)
    for targets_B in (
        q_targets(reward_B, discount_B, next_q_BA),
        double_q_targets(reward_B, discount_B, next_q_BA, next_q_BA),
    ):
        assert not targets_B.requires_grad


def test_the_loss_moves_only_the_action_taken_though_one_network_gives_both_sides() -> None:
    """q(s) = (1, 2) s. From s = 1 by action 0 to s' = 100: the error is 1 - 200, its clipped gradient -1."""
    weight_A1 = torch.tensor([[1.0], [2.0]], requires_grad=True)
    q_BA, next_q_BA = torch.ones(1, 1) @ weight_A1.T, torch.full((1, 1), 100.0) @ weight_A1.T
    for targets_B in (
        q_targets(torch.zeros(1), torch.ones(1), next_q_BA),
        double_q_targets(torch.zeros(1), torch.ones(1), next_q_BA, next_q_BA),
    ):
        (gradient_A1,) = torch.autograd.grad(
            td_loss(q_BA, torch.tensor([0]), targets_B, "huber"), weight_A1, retain_graph=True
        )
        torch.testing.assert_close(gradient_A1, torch.tensor([[-1.0], [0.0]]))


def test_targets_are_as_many_as_the_batch_and_a_loss_is_a_scalar() -> None:
    B, A = 7, 3
    targets_B = double_q_targets(torch.zeros(B), torch.ones(B), torch.randn(B, A), torch.randn(B, A))
    assert targets_B.shape == q_targets(torch.zeros(B), torch.ones(B), torch.randn(B, A)).shape == (B,)
    for loss_fn in ("huber", "mse"):
        assert td_loss(torch.randn(B, A), torch.randint(A, (B,)), targets_B, loss_fn).shape == ()
