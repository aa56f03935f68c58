"""Steps a Gymnasium vector environment under a policy: the hot loop, which knows torch and numpy but no Ray.

    T x [ choose(obs) --> actions --> envs.step ] --> RolloutBatch, with the episodes that ended in it

The loop writes into arrays that are allocated once per rollout. Everything else is computed afterwards, for
all T steps at once. When an environment fails, all are rebuilt and the step is dropped."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor

from algorithms.rl import vector_envs
from algorithms.rl.rollout_batch import EpisodeCounter, RolloutBatch, concatenate, finite
from algorithms.rl.whole_episodes import EpisodeQuota, keep_first_episodes

logger = logging.getLogger("ray.rllib")

EPISODE_BLOCK_STEPS = 16
"""Whole episodes are played in blocks of this many steps; surplus steps of the last block are discarded."""

Choose = Callable[[Tensor, int, torch.Generator], Tensor]
"""Chooses actions [N, ...] from (obs [N, ...], env steps so far, random numbers)."""


class EnvironmentFailed(RuntimeError):
    """An environment kept failing; the text names it and quotes its last error."""


class Stepper:
    """Holds a vector environment, its random numbers and its open episodes, and steps it.

    `make_envs` makes the vector environment, also after a failure. `env` is its name in error messages.
    More than `num_tolerated_failures` without a complete episode in between raise EnvironmentFailed.
    """

    def __init__(
        self,
        make_envs: Callable[[], VectorEnv[Any, Any, Any]],
        seeds: np.random.SeedSequence,
        env: object = "",
        num_tolerated_failures: int = 0,
    ) -> None:
        self._make_envs, self._env = make_envs, env
        self._num_tolerated = num_tolerated_failures
        self._num_failures_in_a_row = 0
        self.num_failures = 0
        """How often the environments failed. The caller may set it back to 0."""
        self._obs: np.ndarray | None = None
        self.reseed(seeds)
        self.build_envs()
        self._counter = EpisodeCounter(self.num_envs)
        self._resetting = np.zeros(self.num_envs, bool)

    def build_envs(self) -> None:
        """Make the environments. Raises ValueError where they can't be made."""
        self.envs = self._make_envs()
        self.num_envs = self.envs.num_envs
        self.envs.action_space.seed(int(self._rng.integers(2**31)))

    def reseed(self, seeds: np.random.SeedSequence) -> None:
        """Restart the random numbers of environments and policy from these seeds."""
        self._rng = np.random.default_rng(seeds)
        self._generator = torch.Generator().manual_seed(int(self._rng.integers(2**63)))

    @property
    def has_begun(self) -> bool:
        """Whether its environments are in the midst of episodes."""
        return self._obs is not None

    def end_episodes(self) -> None:
        """Have the next rollout begin with new episodes."""
        self._obs = None

    def close(self) -> None:
        """Close the environments."""
        try:
            self.envs.close()
        except Exception:  # raised by the user's environment, which is discarded anyway
            logger.exception("closing the environments failed")

    # Rollouts

    def whole_episodes(
        self,
        num_episodes: int,
        choose: Choose | None,
        env_steps: int = 0,
        num_env_steps: int = 0,
        max_episode_steps: float = float("inf"),
        progress: Callable[[int], None] | None = None,
    ) -> RolloutBatch:
        """Play and return new whole episodes: at least `num_episodes`, with at least `num_env_steps` in all.

        whole_episodes.py says which episodes count. `progress` is called with their number after every block.
        Raises EnvironmentFailed, also for an episode that is longer than `max_episode_steps`.
        """
        self.end_episodes()
        quota = EpisodeQuota(self.num_envs, num_episodes, num_env_steps)
        blocks: list[RolloutBatch] = []
        while not (blocks and quota.is_met()):
            blocks.append(self.steps(EPISODE_BLOCK_STEPS, choose, env_steps))
            quota.add(blocks[-1])
            if quota.longest_open() > max_episode_steps:
                raise EnvironmentFailed(
                    f"env {self._env!r}: an episode had not ended after {quota.longest_open()} steps "
                    f"(max_episode_steps {max_episode_steps})"
                )
            if progress is not None:
                progress(quota.num_counted())
        self.end_episodes()
        batch = keep_first_episodes(concatenate(blocks), quota.shares)
        batch.episodes = EpisodeCounter(self.num_envs).count(batch)
        return batch

    def fragment(self, num_steps: int, choose: Choose | None, env_steps: int = 0) -> RolloutBatch:
        """Take `num_steps` steps of every environment, and count the episodes that end.

        If one environment gave no step to learn from, all are rebuilt: new ones may do better.
        """
        batch = self.steps(num_steps, choose, env_steps)
        if (batch.dropped.any(axis=0) & ~batch.valid.any(axis=0)).any():
            broken_off = batch.played()[-1] & ~batch.ends()[-1]
            reason = "every observation or reward of an environment's rollout was NaN or infinite"
            self._obs = self._rebuild(FloatingPointError(reason))
            batch.truncated[-1] |= broken_off
            batch.dropped[-1] |= broken_off
            batch.valid[-1] &= ~broken_off
        batch.episodes = self._counter.count(batch)
        return batch

    def steps(self, num_steps: int, choose: Choose | None, env_steps: int = 0) -> RolloutBatch:
        """Take `num_steps` steps of every environment; its episodes are not counted yet.

        `choose` None takes random actions. `env_steps` is the number of steps of all runners so far.
        Raises EnvironmentFailed.
        """
        if self._obs is None:
            self._obs = self._start_episodes()
        resetting = self._resetting  # a failure below replaces it
        space = self.envs.single_action_space
        shape = (num_steps, self.num_envs)
        obs = np.empty((num_steps + 1, *self._obs.shape), self._obs.dtype)
        actions = np.empty((*shape, *(space.shape or ())), space.dtype)
        rewards = np.empty(shape, np.float32)
        terminated = np.empty(shape, bool)
        truncated = np.empty(shape, bool)
        failed = np.zeros((num_steps, 1), bool)
        to_env = vector_envs.to_env_actions(space)
        obs[0] = self._obs
        with torch.inference_mode():
            for t in range(num_steps):
                if choose is None:
                    taken = actions[t] = self.envs.action_space.sample()
                else:
                    actions[t] = choose(torch.from_numpy(obs[t]), env_steps, self._generator).numpy()
                    taken = to_env(actions[t]) if to_env else actions[t]
                try:
                    obs[t + 1], rewards[t], terminated[t], truncated[t], _ = self.envs.step(taken)
                except Exception as error:  # any error of the environment: drop the step, lose its episodes
                    obs[t + 1] = self._rebuild(error)
                    rewards[t], terminated[t], truncated[t], failed[t] = 0.0, False, False, True
                env_steps += self.num_envs

        ended = terminated | truncated
        resets = np.concatenate([resetting[None], ended[:-1]])
        dropped = ~resets & (failed | ~finite(obs[:-1]) | ~finite(obs[1:]) | ~finite(rewards[..., None]))
        valid = ~resets & ~dropped
        self._obs, self._resetting = obs[-1], ended[-1]
        if (ended & valid).any():
            self._num_failures_in_a_row = 0
        truncated |= failed
        return RolloutBatch(obs, actions, rewards, terminated, truncated, valid, dropped)

    def _start_episodes(self) -> np.ndarray:
        """Reset every environment; return the observations, floats as float32."""
        self._counter = EpisodeCounter(self.num_envs)
        self._resetting = np.zeros(self.num_envs, bool)
        try:
            return _as_float32(vector_envs.reset(self.envs, self._rng))
        except Exception as error:  # any error of the environment
            return self._rebuild(error)

    def _rebuild(self, error: Exception) -> np.ndarray:
        """Rebuild the environments and return the observations. Raises EnvironmentFailed."""
        while True:
            self.num_failures += 1
            self._num_failures_in_a_row += 1
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            if self._num_failures_in_a_row > self._num_tolerated:
                times = f"{self._num_failures_in_a_row} times in a row, with no episode played to its end"
                raise EnvironmentFailed(
                    f"env {self._env!r} failed {times}; the last time: {reason}"
                ) from error
            logger.warning("env %r failed and is rebuilt: %s", self._env, reason)
            try:
                self.close()
                self.build_envs()
                obs = _as_float32(vector_envs.reset(self.envs, self._rng))
                self._resetting = np.zeros(self.num_envs, bool)
                return obs
            except Exception as again:  # any error of the environment
                error = again

    # Checkpoints

    def state(self) -> dict[str, Any]:
        """Return what it takes to go on exactly; "env" is None where the environments can't be pickled."""
        return {
            "rng": self._rng.bit_generator.state,
            "generator": self._generator.get_state().numpy(),
            "env": self._pickled_envs(),
            "obs": self._obs,
            "resetting": self._resetting,
            "episodes": self._counter.state(),
        }

    def _pickled_envs(self) -> bytes | None:
        if self._obs is None:
            return None
        try:
            return pickle.dumps(self.envs)
        except Exception:  # the environment holds an emulator, a lambda or a socket
            return None

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned. Environments that were not pickled begin with new episodes."""
        self._rng.bit_generator.state = state["rng"]
        self._generator.set_state(torch.from_numpy(np.array(state["generator"])))
        if state["env"] is None:
            self.end_episodes()
            return
        self.close()
        self.envs = pickle.loads(state["env"])
        self._obs, self._resetting = state["obs"], state["resetting"]
        self._counter.set_state(state["episodes"])


def _as_float32(obs: np.ndarray) -> np.ndarray:
    return obs.astype(np.float32) if obs.dtype.kind == "f" else obs
