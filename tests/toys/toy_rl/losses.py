"""One-step actor-critic. Sutton & Barto 2018, section 13.5. B batch."""

from torch import Tensor


def td_errors(reward_B: Tensor, discount_B: Tensor, value_B: Tensor, next_value_B: Tensor) -> Tensor:
    """Return r + discount * V(s') - V(s); [B]. The target has no gradient; `discount_B` is 0 after the last step."""
    return reward_B + discount_B * next_value_B.detach() - value_B


def actor_critic_loss(log_prob_B: Tensor, td_error_B: Tensor, vf_coeff: float) -> Tensor:
    """Return mean[-log pi(a|s) * error + vf_coeff * error^2]; the policy's part takes the errors as constants."""
    return (-log_prob_B * td_error_B.detach() + vf_coeff * td_error_B.square()).mean()
