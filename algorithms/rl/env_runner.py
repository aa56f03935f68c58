"""Steps environments and hands over columns: an RLlib EnvRunner, in the algorithm's process or as a Ray actor of its own.

    weights, env steps so far --> rollout(): T x [ policy(obs) --> actions --> env.step ] --> Columns, with the episodes that ended

RLlib's own runner makes an object of every episode and sends it through connectors, step by step; this one writes into arrays made once per
rollout. What is counted (returns, lengths, what must not be learned from) is worked out afterwards, for all T steps at once."""

from __future__ import annotations

import logging
import math
import pickle
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import ray
import torch
from gymnasium.vector import VectorEnv
from ray.rllib.core import COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns as Names
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES
from ray.rllib.env.env_context import EnvContext
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.utils.checkpoints import Checkpointable
from ray.rllib.utils.metrics import (
    EPISODE_LEN_MEAN,
    EPISODE_RETURN_MAX,
    EPISODE_RETURN_MEAN,
    EPISODE_RETURN_MIN,
    NUM_ENV_STEPS_SAMPLED,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_EPISODES,
    WEIGHTS_SEQ_NO,
)
from ray.tune.registry import ENV_CREATOR, _global_registry

from algorithms.rl import vector_envs
from algorithms.rl.rollout_batch import (
    Columns,
    EpisodeCounter,
    Episodes,
    concatenate,
    episode_numbers,
    finite,
    keep_first_episodes,
)

logger = logging.getLogger("ray.rllib")

EPISODE_BLOCK_STEPS = 16
"""Whole episodes are gathered in blocks of so many steps; what the last block has too much is thrown away."""

ALL_EPISODES = 1_000_000
"""Window of an evaluation's mean that goes on until training has ended its iteration."""

ROLLOUT_STATE = "rollout"
"""Component of a runner's state: its environments and random numbers, all but the weights."""


class EnvironmentFailed(RuntimeError):
    """An environment kept failing; the text names it and what it said last."""


@dataclass(frozen=True)
class EpisodeBatch:
    """A request for whole episodes. They depend on it and on the weights alone, whichever runner plays them."""

    num_episodes: int
    """Episodes, at least; shared out over the environments beforehand."""
    num_env_steps: int
    """Steps, at least: every environment plays one more episode until there are so many."""
    spawn_key: tuple[int, ...]
    """Of its random numbers: no other batch's."""
    entropy: int | None = None
    """Of the training's random numbers; None is the runner's own `seed`."""


@dataclass
class Rollout:
    """What a runner answers to a request: a few numbers, and where the columns are."""

    columns: Columns | ray.ObjectRef | None
    """None after an `error`."""
    num_env_steps: int
    """Steps to learn from."""
    episodes: Episodes
    weights_version: int
    num_dropped: int = 0
    """Steps dropped: the environment failed in them, or gave a number that is none."""
    num_failures: int = 0
    """Times that the environments had to be made anew."""
    busy_s: float = 0.0
    idle_s: float = 0.0
    """Seconds from the end of the rollout before until this one was asked for."""
    error: str = ""
    """Why there is no rollout, nor will be: the environment keeps failing."""


class VectorEnvRunner(EnvRunner, Checkpointable):
    """Steps `num_envs_per_env_runner` environments together under one policy; a drop-in `env_runner_cls` of RLlib's.

    `config.env` is a Gymnasium id, a class, a `module.Class` path or a name given to `ray.tune.register_env`; each gets `env_config`.
    """

    def __init__(self, *, config: Any, **kwargs: Any) -> None:
        super().__init__(config=config, **kwargs)
        self.worker_index: int = kwargs.get("worker_index") or 0
        if self.worker_index > 0:
            torch.set_num_threads(
                1
            )  # this process is its own; runners side by side would fight for the cores
        self._reseed(seed_sequence(self.config, self.worker_index))
        self.num_envs: int = self.config.num_envs_per_env_runner
        self.env: VectorEnv[Any, Any, Any] | None = None
        self.module: Any = None
        self._spaces: dict[str, Any] = kwargs.get("spaces") or {}
        self._obs: np.ndarray | None = None
        self._resetting = np.zeros(self.num_envs, bool)
        self._counter = EpisodeCounter(self.num_envs)
        self._weights_version = -1
        self._env_steps = 0  # of all runners together, as last heard
        self._num_failures = self._failures_in_a_row = 0
        self._rollout_ended = time.perf_counter()
        if (
            self.worker_index > 0
            or self.config.num_env_runners == 0
            or self.config.create_env_on_local_worker
        ):
            self.make_env()
        self.make_module()

    def make_env(self) -> None:
        """Make the environments anew; the next rollout begins with new episodes. Raises ValueError where they can't be made."""
        if self.env is not None:
            self.stop()
        env, env_config = env_of(self.config, self.worker_index, self.num_workers)
        self.env = vector_envs.make_vector_env(env, env_config, self.num_envs)
        self.env.action_space.seed(int(self._rng.integers(2**31)))
        self._spaces = {
            INPUT_ENV_SPACES: (self.env.observation_space, self.env.action_space),
            INPUT_ENV_SINGLE_SPACES: (self.env.single_observation_space, self.env.single_action_space),
            DEFAULT_MODULE_ID: (self.env.single_observation_space, self.env.single_action_space),
        }
        self._obs = None

    def make_module(self) -> None:
        """Make the policy, without what only learning needs."""
        self.module = self.config.get_rl_module_spec(spaces=self.get_spaces(), inference_only=True).build()
        self.module.eval()

    def get_spaces(self) -> dict[str, Any]:
        """Return (observation space, action space) of the environments together and of one of them, under RLlib's names."""
        return self._spaces

    @property
    def has_begun(self) -> bool:
        """Whether its environments are in the midst of episodes, and not about to be reset."""
        return self._obs is not None

    def assert_healthy(self) -> None:
        """Raise AssertionError unless there is a policy, and environments where there should be."""
        assert self.module is not None

    def stop(self) -> None:
        """Close the environments."""
        if self.env is not None:
            try:
                self.env.close()
            except Exception:  # of the user's; it is being thrown away
                logger.exception("closing the environments failed")
            self.env = None

    # Rollouts

    def collect(
        self,
        env_steps: int,
        weights: dict[str, Any] | None = None,
        weights_version: int = -1,
        batch: EpisodeBatch | None = None,
    ) -> Rollout:
        """Take `weights`, if they are other than the last ones, and return a rollout under them: of a batch of whole new episodes, or of
        `rollout_fragment_length` steps.

        `env_steps` is how many all runners have taken together: schedules of exploration depend on it.
        """
        began = time.perf_counter()
        idle_s = began - self._rollout_ended
        self._env_steps = env_steps
        if weights is not None and weights_version != self._weights_version:
            self.module.set_state(weights)
            self._weights_version = weights_version
        self._num_failures = 0
        try:
            if batch is None:
                columns = self._fragment(self.config.rollout_fragment_length, self.config.explore, env_steps)
            else:
                entropy = self.config.seed if batch.entropy is None else batch.entropy
                self._reseed(np.random.SeedSequence(entropy, spawn_key=batch.spawn_key))
                columns = self._whole_episodes(batch.num_episodes, batch.num_env_steps, self.config.explore)
        except EnvironmentFailed as failed:
            return Rollout(
                None, 0, Episodes(), self._weights_version, num_failures=self._num_failures, error=str(failed)
            )
        if batch is None:
            self._count(columns)
        self._rollout_ended = time.perf_counter()
        return Rollout(
            columns=columns,
            num_env_steps=columns.env_steps(),
            episodes=columns.episodes,
            weights_version=self._weights_version,
            num_dropped=int(columns.dropped.sum()),
            num_failures=self._num_failures,
            busy_s=self._rollout_ended - began,
            idle_s=idle_s,
        )

    def sample(
        self,
        *,
        num_timesteps: int | None = None,
        num_episodes: int | None = None,
        explore: bool | None = None,
        random_actions: bool = False,
        force_reset: bool = False,
        **kwargs: Any,
    ) -> list[Columns]:
        """Return at least so many steps, or exactly so many whole new episodes; RLlib's own interface, which evaluation uses.

        Every environment plays a number of episodes that is fixed beforehand, so that short ones count no more than long ones. Raises
        ValueError where this runner has no environment or both are asked for, EnvironmentFailed where the environment keeps failing.
        """
        if self.env is None:
            raise ValueError("this env runner has no environment to sample from: it only keeps the policy")
        if num_timesteps is not None and num_episodes is not None:
            raise ValueError(
                f"num_timesteps {num_timesteps} and num_episodes {num_episodes} exclude each other"
            )
        explore = self.config.explore if explore is None else explore
        if force_reset:
            self._obs = None
        if num_episodes is not None:
            columns = self._whole_episodes(num_episodes, 0, explore, random_actions)
        else:
            num_timesteps = num_timesteps or self.config.rollout_fragment_length * self.num_envs
            blocks: list[Columns] = []
            missing = num_timesteps
            while missing > 0:
                blocks.append(
                    self._fragment(
                        math.ceil(missing / self.num_envs), explore, self._env_steps, random_actions
                    )
                )
                missing -= int(blocks[-1].played().sum())
            columns = concatenate(blocks)
            self._count(columns)
        self._log(columns)
        return [columns]

    def _whole_episodes(
        self, num_episodes: int, num_env_steps: int, explore: bool, random_actions: bool = False
    ) -> Columns:
        """Return whole new episodes, at least so many and of at least so many steps; nothing else in the columns counts.

        The first to end are not the first to count, or short episodes would be preferred: every environment plays its share, fixed
        beforehand, to the end; while the steps of all shares are too few, every share grows by one. Whether it grows depends on episodes
        that count already, so sums over the batch are the mean of an episode times the mean number of episodes (Wald's equation).
        """
        self._obs = None
        quota = np.full(self.num_envs, num_episodes // self.num_envs)
        quota[: num_episodes % self.num_envs] += 1
        blocks: list[Columns] = []
        num_ended, num_open = np.zeros(self.num_envs, np.int64), np.zeros(self.num_envs, np.int64)
        lengths = np.zeros((1, self.num_envs), np.int64)  # of every environment's episodes so far
        while True:
            if blocks and (num_ended >= quota).all():
                if lengths[np.arange(len(lengths))[:, None] < quota].sum() >= num_env_steps:
                    break
                quota += 1
                continue
            block = self._steps(EPISODE_BLOCK_STEPS, explore, self._env_steps, random_actions)
            blocks.append(block)
            ends = block.ends()
            if (ends & block.valid).any():
                self._failures_in_a_row = 0
            numbers = num_ended + episode_numbers(block)
            lengths = np.pad(lengths, ((0, max(0, numbers.max() + 1 - len(lengths))), (0, 0)))
            np.add.at(lengths, (numbers, np.arange(self.num_envs)), block.played())
            num_open = np.where(ends.any(axis=0), ends[::-1].argmax(axis=0), num_open + len(ends))
            num_ended += ends.sum(axis=0)
            too_long = num_open[(num_open > self.config.max_episode_steps) & (num_ended < quota)]
            if len(too_long):
                limit = f"max_episode_steps {self.config.max_episode_steps}"
                raise EnvironmentFailed(
                    f"env {self.config.env!r}: an episode had not ended after {too_long.max()} steps ({limit})"
                )
        columns = keep_first_episodes(concatenate(blocks), quota)
        self._count(columns)
        self._obs = None
        return columns

    def _reseed(self, seeds: np.random.SeedSequence) -> None:
        """Begin the random numbers of environments and policy anew."""
        self._rng = np.random.default_rng(seeds)
        self._generator = torch.Generator().manual_seed(int(self._rng.integers(2**63)))

    def _fragment(
        self, num_steps: int, explore: bool, env_steps: int, random_actions: bool = False
    ) -> Columns:
        """Take so many steps of every environment. Where one gave nothing to learn from, all are made anew: new ones may do better."""
        columns = self._steps(num_steps, explore, env_steps, random_actions)
        if (columns.dropped.any(axis=0) & ~columns.valid.any(axis=0)).any():
            broken_off = columns.played()[-1] & ~columns.ends()[-1]
            self._obs = self._restart(
                FloatingPointError(
                    "every observation or reward of an environment's rollout was NaN or infinite"
                )
            )
            columns.truncated[-1] |= broken_off
            columns.dropped[-1] |= broken_off
            columns.valid[-1] &= ~broken_off
        return columns

    def _steps(self, num_steps: int, explore: bool, env_steps: int, random_actions: bool = False) -> Columns:
        """Take so many steps of every environment: the loop in which a runner's time goes."""
        if self._obs is None:
            self._obs = self._start_episodes()
        assert self.env is not None
        resetting = self._resetting  # a failure on the way sets another
        space, shape = self.env.single_action_space, (num_steps, self.num_envs)
        obs = np.empty((num_steps + 1, *self._obs.shape), self._obs.dtype)
        actions = np.empty((*shape, *(space.shape or ())), space.dtype)
        rewards, terminated, truncated = (
            np.empty(shape, np.float32),
            np.empty(shape, bool),
            np.empty(shape, bool),
        )
        failed = np.zeros((num_steps, 1), bool)
        choose = (
            self.module._forward_exploration if explore else self.module._forward_inference
        )  # it is in eval mode already
        to_env = vector_envs.to_env_actions(space)
        obs[0] = self._obs
        with torch.inference_mode():
            for t in range(num_steps):
                if random_actions:
                    taken = actions[t] = self.env.action_space.sample()
                else:
                    chosen = choose(
                        {Names.OBS: torch.from_numpy(obs[t])}, t=env_steps, generator=self._generator
                    )
                    actions[t] = chosen[Names.ACTIONS].numpy()
                    taken = to_env(actions[t]) if to_env else actions[t]
                try:
                    obs[t + 1], rewards[t], terminated[t], truncated[t], _ = self.env.step(taken)
                except Exception as error:  # whatever the environment raises: this step is dropped, and what it broke off is lost
                    obs[t + 1] = self._restart(error)
                    rewards[t], terminated[t], truncated[t], failed[t] = 0.0, False, False, True
                env_steps += self.num_envs

        done = terminated | truncated
        resets = np.concatenate([resetting[None], done[:-1]])
        dropped = ~resets & (failed | ~finite(obs[:-1]) | ~finite(obs[1:]) | ~finite(rewards[..., None]))
        self._obs, self._resetting = obs[-1], done[-1]
        truncated |= failed
        return Columns(
            obs, actions, rewards, terminated, truncated, ~resets & ~dropped, dropped, self._weights_version
        )

    def _count(self, columns: Columns) -> None:
        columns.episodes = self._counter.count(columns)
        if len(columns.episodes.returns):
            self._failures_in_a_row = 0

    def _start_episodes(self) -> np.ndarray:
        """Reset every environment; return what they show, floats as float32."""
        assert self.env is not None
        self._counter = EpisodeCounter(self.num_envs)
        self._resetting = np.zeros(self.num_envs, bool)
        try:
            obs = vector_envs.reset(self.env, self._rng)
        except Exception as error:  # whatever the environment raises
            return self._restart(error)
        return obs.astype(np.float32) if obs.dtype.kind == "f" else obs

    def _restart(self, error: Exception) -> np.ndarray:
        """Make the environments anew and return what they show; raise EnvironmentFailed where they fail too often in a row."""
        tolerated = (
            self.config.num_consecutive_env_runner_failures_tolerance
            if self.config.restart_failed_sub_environments
            else 0
        )
        while True:
            self._num_failures += 1
            self._failures_in_a_row += 1
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            if self._failures_in_a_row > tolerated:
                times = f"{self._failures_in_a_row} times in a row, with no episode played to its end"
                raise EnvironmentFailed(
                    f"env {self.config.env!r} failed {times}; the last time: {reason}"
                ) from error
            logger.warning("env %r failed and is made anew: %s", self.config.env, reason)
            try:
                self.make_env()
                assert self.env is not None
                obs = vector_envs.reset(self.env, self._rng)
                self._resetting = np.zeros(self.num_envs, bool)
                return obs.astype(np.float32) if obs.dtype.kind == "f" else obs
            except Exception as again:  # whatever the environment raises
                error = again

    # What RLlib asks for

    def _log(self, columns: Columns) -> None:
        """Log these episodes under RLlib's keys, for `get_metrics`."""
        window = max(
            1, math.ceil(self.config.metrics_num_episodes_for_smoothing / max(1, self.config.num_env_runners))
        )
        if self.config.in_evaluation:
            window = (
                self.config.evaluation_duration if self.config.evaluation_duration != "auto" else ALL_EPISODES
            )
        for total, length in zip(
            columns.episodes.returns[-window:], columns.episodes.lengths[-window:], strict=True
        ):
            self.metrics.log_value(EPISODE_RETURN_MEAN, total, window=window)
            self.metrics.log_value(EPISODE_LEN_MEAN, length, window=window)
            self.metrics.log_value(EPISODE_RETURN_MIN, total, reduce="min", window=window)
            self.metrics.log_value(EPISODE_RETURN_MAX, total, reduce="max", window=window)
        self.metrics.log_value(NUM_EPISODES, len(columns.episodes.returns), reduce="sum")
        self.metrics.log_value(NUM_ENV_STEPS_SAMPLED, columns.env_steps(), reduce="sum")
        self.metrics.log_value("num_episodes_lost", columns.episodes.num_lost, reduce="sum")
        self.metrics.log_value("num_dropped_env_steps", int(columns.dropped.sum()), reduce="sum")
        self.metrics.log_value("num_env_failures", self._num_failures, reduce="sum")
        self._num_failures = 0

    def get_metrics(self) -> Any:
        """Return what `sample` logged since the last call."""
        return self.metrics.reduce()

    def get_state(
        self, components: Any = None, *, not_components: Any = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Return all it takes to go on exactly; the environments, where they can be pickled (else they are reset, see `set_state`)."""
        state: dict[str, Any] = {WEIGHTS_SEQ_NO: self._weights_version}
        if self._check_component(COMPONENT_RL_MODULE, components, not_components):
            state[COMPONENT_RL_MODULE] = {DEFAULT_MODULE_ID: self.module.get_state(inference_only=True)}
        if self._check_component(ROLLOUT_STATE, components, not_components):
            state[ROLLOUT_STATE] = {
                "of": self._identity(),
                "rng": self._rng.bit_generator.state,
                "generator": self._generator.get_state().numpy(),
                "env": self._pickled_envs(),
                "obs": self._obs,
                "resetting": self._resetting,
                "episodes": self._counter.state(),
            }
        return state

    def _identity(self) -> tuple[Any, ...]:
        """Return whose environments these are: others can't take their place."""
        return self.config.in_evaluation, str(self.config.env), dict(self.config.env_config), self.num_envs

    def _pickled_envs(self) -> bytes | None:
        if self.env is None or self._obs is None:
            return None
        try:
            return pickle.dumps(self.env)
        except Exception:  # of whatever the environment holds: an emulator, a lambda, a socket
            return None

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on as `state` says, which may hold weights only. Environments that could not be pickled begin with new episodes."""
        weights = state.get(COMPONENT_RL_MODULE)
        if weights is not None:
            weights = ray.get(weights) if isinstance(weights, ray.ObjectRef) else weights
            self.module.set_state(weights.get(DEFAULT_MODULE_ID, weights))
            self._weights_version = state.get(WEIGHTS_SEQ_NO, -1)
        self._env_steps = state.get(NUM_ENV_STEPS_SAMPLED_LIFETIME, self._env_steps)
        rollout = state.get(ROLLOUT_STATE)
        if rollout is None or self.env is None:
            return
        if (
            rollout["of"] != self._identity()
        ):  # RLlib gives an evaluation's runner the state of training's, too
            self._obs = None
            return
        self._rng.bit_generator.state = rollout["rng"]
        self._generator.set_state(torch.from_numpy(np.array(rollout["generator"])))
        if rollout["env"] is None:
            self._obs = None
            return
        self.stop()
        self.env = pickle.loads(rollout["env"])
        self._obs, self._resetting = rollout["obs"], rollout["resetting"]
        self._counter.set_state(rollout["episodes"])

    def get_ctor_args_and_kwargs(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return how to make another one like it."""
        return (), {"config": self.config, "worker_index": self.worker_index, "num_workers": self.num_workers}


def collect_rollout(runner: VectorEnvRunner, **request: Any) -> Rollout:
    """Do a request on the runner's side: the columns stay in its machine's object store, and only their reference travels."""
    rollout = runner.collect(**request)
    if rollout.columns is None:
        return rollout
    return replace(rollout, columns=ray.put(rollout.columns))


def env_of(config: Any, worker_index: int = 0, num_workers: int = 0) -> tuple[Any, EnvContext]:
    """Return what makes an environment of this config (an id, a path, a class or a function), and the `env_config` that it is given."""
    env = config.env
    if isinstance(env, str) and _global_registry.contains(ENV_CREATOR, env):
        env = _global_registry.get(ENV_CREATOR, env)
    return env, EnvContext(config.env_config, worker_index=worker_index, num_workers=num_workers)


def seed_sequence(config: Any, worker_index: int) -> np.random.SeedSequence:
    """Return the seeds of a runner: no other's, be it in training or in evaluation, nor those of its own life before a restart.

    The runner in the algorithm's own process is the first of its kind, and has the seeds that a lone remote one would have.
    """
    entropy = config.seed
    if worker_index > 0 and ray.get_runtime_context().was_current_actor_reconstructed:
        entropy = None  # of the operating system: a run that lost a runner can't be repeated anyhow
    index = worker_index or int(config.num_env_runners == 0)
    return np.random.SeedSequence(entropy, spawn_key=(int(config.in_evaluation), index))
