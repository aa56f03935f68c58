"""DQN loss: one-step temporal-difference error. Mnih+ 2015 (doi:10.1038/nature14236).

Double Q-learning: van Hasselt+ 2016 (arXiv:1509.06461). B batch, A actions. `discount_B` is gamma, and 0
where the episode terminated. A time limit (truncation) still has a future, so it keeps its discount."""

from torch import Tensor, nn


def q_targets(reward_B: Tensor, discount_B: Tensor, next_q_target_BA: Tensor) -> Tensor:
    """Return r + discount * max_a Q_target(s', a); [B], no gradient. Mnih+ 2015, algorithm 1."""
    return (reward_B + discount_B * next_q_target_BA.amax(dim=1)).detach()


def double_q_targets(
    reward_B: Tensor, discount_B: Tensor, next_q_online_BA: Tensor, next_q_target_BA: Tensor
) -> Tensor:
    """Return r + discount * Q_target(s', argmax_a Q_online(s', a)); [B], no gradient.

    van Hasselt+ 2016, equation 4.
    """
    best_B1 = next_q_online_BA.argmax(dim=1, keepdim=True)
    return (reward_B + discount_B * next_q_target_BA.gather(1, best_B1).squeeze(1)).detach()


def td_loss(q_BA: Tensor, action_B: Tensor, target_B: Tensor, loss_fn: str) -> Tensor:
    """Return the mean loss of the errors Q(s, a) - target, a scalar. Mnih+ 2015, equation 2 and methods.

    `loss_fn` mse is the squared error. huber is half of that for errors below 1 and linear beyond: its
    gradient is the error clipped to [-1, 1].
    """
    q_B = q_BA.gather(1, action_B.unsqueeze(1)).squeeze(1)
    if loss_fn == "huber":
        return nn.functional.smooth_l1_loss(q_B, target_B)
    return nn.functional.mse_loss(q_B, target_B)
