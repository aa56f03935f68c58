"""DQN finds the exact values of a problem of two states, which a reader can work out by hand."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete

from algorithms.dqn.dqn import DQNConfig

GAMMA = 0.5
TIME_LIMIT = 3
TRANSITIONS = {(0, 0): (0.0, 0), (0, 1): (0.0, 1), (1, 0): (3.0, 0), (1, 1): (2.0, 1)}
"""Reward and next state by (state, action); only (1, 1) terminates."""

BEST_VALUES = torch.tensor([[1.0, 2.0], [4.0, 2.0]])
"""Q*(s, a), with V(s) = max_a Q*(s, a), and 1/2 for the discount:

    Q*(0, 0) = 0 + V(0) / 2    = 1      stay
    Q*(0, 1) = 0 + V(1) / 2    = 2      go
    Q*(1, 0) = 3 + V(0) / 2    = 4      go back
    Q*(1, 1) = 2               = 2      terminate: no future

V(0) = V(1) / 2 and V(1) = 3 + V(0) / 2, so V(1) = 4 and V(0) = 2. The best policy goes to and fro for ever,
and a time limit of three steps cuts every episode of it: were truncation an end, the values of three steps
would be all there is."""


class TwoStates(gym.Env[np.ndarray, int]):
    """TRANSITIONS, from state 0 on; a time limit truncates."""

    observation_space = Box(0, 1, (2,), np.float32)
    action_space: gym.Space[Any] = Discrete(2)

    def __init__(self, env_config: dict[str, Any]) -> None:
        self._state = self._steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._state = self._steps = 0
        return self._obs(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        terminated = (self._state, int(action)) == (1, 1)
        reward, self._state = TRANSITIONS[self._state, int(action)]
        self._steps += 1
        return self._obs(), reward, terminated, self._steps == TIME_LIMIT and not terminated, {}

    def _obs(self) -> np.ndarray:
        return np.eye(2, dtype=np.float32)[self._state]


def learned_values(**options: Any) -> torch.Tensor:
    """Return Q(s, a) [2, 2] after 4,000 steps of random actions, all in this process."""
    config = (
        DQNConfig()
        .environment(TwoStates)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=8, rollout_fragment_length=16)
        .training(
            gamma=GAMMA,
            lr=[[0, 1e-2], [3000, 1e-3]],
            epsilon=1.0,
            train_batch_size_per_learner=32,
            training_intensity=8,
            target_network_update_freq=40,
            num_steps_sampled_before_learning_starts=200,
            fcnet_hiddens=(16,),
            **options,
        )
        .debugging(seed=0)
    )
    algo = config.build_algo()
    try:
        for _ in range(4):
            result = algo.train()
        assert result["learners"]["default_policy"]["num_updates_lifetime"] > 500
        with torch.inference_mode():
            q: torch.Tensor = algo.learner_group._learner.module["default_policy"].qf(torch.eye(2))
        return q.clone()
    finally:
        algo.stop()


def test_the_values_by_hand_are_those_that_iteration_finds() -> None:
    """Bellman's equation, over and over: each round halves what is missing."""
    q = torch.zeros(2, 2, dtype=torch.float64)
    for _ in range(40):
        best = q.max(dim=1).values.tolist()
        for (state, action), (reward, next_state) in TRANSITIONS.items():
            q[state, action] = reward + GAMMA * best[next_state] * ((state, action) != (1, 1))
    torch.testing.assert_close(q, BEST_VALUES.double())


@pytest.mark.parametrize(
    ("double_q", "loss_fn", "tau"), [(True, "huber", 1.0), (False, "mse", 1.0), (True, "mse", 0.5)]
)
def test_dqn_learns_the_exact_values(ray_address: str, double_q: bool, loss_fn: str, tau: float) -> None:
    q = learned_values(double_q=double_q, td_error_loss_fn=loss_fn, tau=tau)
    torch.testing.assert_close(q, BEST_VALUES, atol=0.01, rtol=0)
