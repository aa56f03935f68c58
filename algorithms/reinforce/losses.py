"""REINFORCE losses: score function times return. Williams 1992 (doi:10.1007/BF00992696).

Equations of Sutton and Barto 2018. B steps of whole episodes, one episode after the other; E episodes; A
actions. `ends_B` marks the last step of each episode. docs/theory.md shows why neither rewards to go nor a
baseline change the gradient's mean."""

import torch
from torch import Tensor


def rewards_to_go(rewards_B: Tensor, ends_B: Tensor, gamma: float) -> Tensor:
    """Return G_t = r_t + gamma * G_{t+1}, where the last step of an episode has no next; [B]. Equation 3.9.

    It takes log2(longest episode) passes. After pass k every sum spans 2**k steps; the next pass adds the sum
    that begins where it stops.
    """
    sums_B = rewards_B.clone()
    reach_B = torch.full_like(rewards_B, gamma).masked_fill(
        ends_B, 0.0
    )  # weight of the next sum; 0 at an end
    step = 1
    while step < len(sums_B) and bool(reach_B.any()):
        sums_B[:-step] += reach_B[:-step] * sums_B[step:].clone()
        reach_B = torch.cat([reach_B[:-step] * reach_B[step:], reach_B.new_zeros(step)])
        step *= 2
    return sums_B


def ages(ends_B: Tensor) -> Tensor:
    """Return the number of each step in its episode, from 0 on; int64 [B]."""
    index_B = torch.arange(len(ends_B), device=ends_B.device)
    first_B = torch.cat([ends_B.new_ones(1), ends_B[:-1]])
    begins_B = torch.where(first_B, index_B, 0).cummax(dim=0).values
    return index_B - begins_B


def total_returns(rewards_B: Tensor, ends_B: Tensor, gamma: float) -> Tensor:
    """Return, per step, the sum of gamma**t * r_t over its whole episode; [B]. Williams 1992, theorem 1."""
    age_B = ages(ends_B)
    return rewards_to_go(rewards_B, ends_B, gamma)[torch.arange(len(age_B), device=age_B.device) - age_B]


def bootstrapped(
    rewards_B: Tensor, ends_B: Tensor, truncated_E: Tensor, last_values_E: Tensor, gamma: float
) -> Tensor:
    """Return the rewards, with gamma * V(s_T) added to the last one of every truncated episode; [B].

    Pardo+ 2018 (arXiv:1712.00378), equation 6.
    """
    rewards_B = rewards_B.clone()
    rewards_B[ends_B] += torch.where(truncated_E, gamma * last_values_E, 0.0)
    return rewards_B


def normalized(advantages_B: Tensor) -> Tensor:
    """Return the advantages with mean 0 and standard deviation 1; [B]."""
    return (advantages_B - advantages_B.mean()) / (advantages_B.std(correction=0) + 1e-8)


def policy_loss(log_probs_B: Tensor, advantages_B: Tensor, batch_size: float) -> Tensor:
    """Return -sum of log pi(a_t|s_t) * A_t / batch_size, a scalar; its gradient is minus that of the return.

    `batch_size` is the number of episodes or steps that was asked for. The number that came is random, and
    dividing by it would bias the estimate.
    """
    return -(log_probs_B * advantages_B.detach()).sum() / batch_size


def entropy_bonus(entropies_B: Tensor, batch_size: float) -> Tensor:
    """Return the sum of the entropies in the visited states / batch_size; a scalar. Williams, Peng 1991."""
    return entropies_B.sum() / batch_size


def value_loss(values_B: Tensor, returns_B: Tensor) -> Tensor:
    """Return half the mean squared error over the visited states, a scalar. Equation 9.1."""
    return 0.5 * (values_B - returns_B).square().mean()
