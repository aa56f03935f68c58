"""RLlib's env runner over our Stepper, in the algorithm's process or as a Ray actor.

    weights, env steps so far --> collect(): stepper.py --> RolloutResult, with a reference to the batch

RLlib's own runner makes an object of every episode for its connectors. This one returns arrays."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import numpy as np
import ray
import torch
from ray.rllib.core import COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.utils import metrics as keys
from ray.rllib.utils.checkpoints import Checkpointable
from ray.rllib.utils.typing import StateDict

from algorithms.rl import vector_envs
from algorithms.rl.rollout_batch import RolloutBatch, RolloutResult
from algorithms.rl.rollout_stats import log_episodes
from algorithms.rl.stepper import Choose, EnvironmentFailed, Stepper
from algorithms.rl.whole_episodes import EpisodeRequest

ALL_EPISODES = 1_000_000
"""Window of the mean of an evaluation that goes on until the training iteration has ended."""

STEPPER_STATE = "stepper"
"""Component of a runner's state: its environments and random numbers, all but the weights."""


class VectorEnvRunner(EnvRunner, Checkpointable):
    """Steps `num_envs_per_env_runner` environments together under one policy; a drop-in `env_runner_cls`.

    `config.env` is a Gymnasium id, a class, a `module.Class` path or a name given to `ray.tune.register_env`.
    """

    def __init__(self, *, config: Any, **kwargs: Any) -> None:
        super().__init__(config=config, **kwargs)
        self.worker_index: int = kwargs.get("worker_index") or 0
        if self.worker_index > 0:
            torch.set_num_threads(1)  # runners side by side would compete for the cores
        self.num_envs: int = self.config.num_envs_per_env_runner
        self._limit: int = self.config.max_episode_steps
        self.module: Any = None
        self.stepper: Stepper | None = None
        """None in the algorithm's own process when other runners step the environments."""
        self._spaces: dict[str, Any] = kwargs.get("spaces") or {}
        self._weights_version = -1
        self._env_steps = 0  # of all runners together, as of the last request
        self._rollout_ended = time.perf_counter()
        is_alone = self.config.num_env_runners == 0 or self.config.create_env_on_local_worker
        if self.worker_index > 0 or is_alone:
            self.make_env()
        self.make_module()

    def make_env(self) -> None:
        """Make the environments and what steps them. Raises ValueError where they can't be made."""
        self.stop()
        tolerated = self.config.num_consecutive_env_runner_failures_tolerance
        self.stepper = Stepper(
            self.make_envs,
            self.config.seed_sequence(self.worker_index),
            env=self.config.env,
            num_tolerated_failures=tolerated if self.config.restart_failed_sub_environments else 0,
        )
        envs = self.stepper.envs
        single = envs.single_observation_space, envs.single_action_space
        self._spaces = {
            INPUT_ENV_SPACES: (envs.observation_space, envs.action_space),
            INPUT_ENV_SINGLE_SPACES: single,
            DEFAULT_MODULE_ID: single,
        }

    def make_envs(self) -> Any:
        """Return a new vector environment; a subclass may return another one."""
        env, env_config = self.config.env_and_config(self.worker_index, self.num_workers)
        return vector_envs.make_vector_env(env, env_config, self.num_envs)

    def make_module(self) -> None:
        """Make the policy, without the networks that only the learner needs."""
        self.module = self.config.get_rl_module_spec(spaces=self.get_spaces(), inference_only=True).build()
        self.module.eval()

    def get_spaces(self) -> dict[str, Any]:
        """Return (observation space, action space) of the vector environment and of a single one."""
        return self._spaces

    @property
    def has_begun(self) -> bool:
        """Whether its environments are in the midst of episodes."""
        return self.stepper is not None and self.stepper.has_begun

    def assert_healthy(self) -> None:
        """Raise AssertionError unless there is a policy."""
        assert self.module is not None

    def stop(self) -> None:
        """Close the environments."""
        if self.stepper is not None:
            self.stepper.close()

    def _choose(self, explore: bool) -> Choose:
        """Return the function that chooses the policy's actions; the module is in eval mode already."""
        forward = self.module._forward_exploration if explore else self.module._forward_inference

        def choose(obs: torch.Tensor, env_steps: int, generator: torch.Generator) -> torch.Tensor:
            chosen: dict[str, torch.Tensor] = forward({Columns.OBS: obs}, t=env_steps, generator=generator)
            return chosen[Columns.ACTIONS]

        return choose

    def collect(
        self,
        env_steps: int,
        weights: dict[str, Any] | None = None,
        weights_version: int = -1,
        request: EpisodeRequest | None = None,
    ) -> RolloutResult:
        """Take the weights if they are new, and return a rollout.

        It has the whole episodes of the request, or `rollout_fragment_length` steps of every environment.
        `env_steps` is the number of steps of all runners so far; schedules of exploration depend on it.
        """
        assert self.stepper is not None
        began = time.perf_counter()
        result = RolloutResult(None, idle_s=began - self._rollout_ended)
        self._env_steps = env_steps
        if weights is not None and weights_version != self._weights_version:
            self.module.set_state(weights)
            self._weights_version = weights_version
        self.stepper.num_failures = 0
        result.weights_version = self._weights_version
        try:
            result.set_batch(self._rollout(self.stepper, request))
        except EnvironmentFailed as failed:
            result.error = str(failed)
        self._rollout_ended = time.perf_counter()
        result.num_failures = self.stepper.num_failures
        result.busy_s = self._rollout_ended - began
        return result

    def _rollout(self, stepper: Stepper, request: EpisodeRequest | None) -> RolloutBatch:
        choose = self._choose(self.config.explore)
        if request is None:
            return stepper.fragment(self.config.rollout_fragment_length, choose, self._env_steps)
        entropy = self.config.seed if request.entropy is None else request.entropy
        stepper.reseed(np.random.SeedSequence(entropy, spawn_key=request.spawn_key))
        num_episodes, num_env_steps = request.num_episodes, request.num_env_steps
        return stepper.whole_episodes(num_episodes, choose, self._env_steps, num_env_steps, self._limit)

    def sample(
        self,
        *,
        num_timesteps: int | None = None,
        num_episodes: int | None = None,
        explore: bool | None = None,
        random_actions: bool = False,
        force_reset: bool = False,
        **kwargs: Any,
    ) -> list[RolloutBatch]:
        """Return at least `num_timesteps` steps, or exactly `num_episodes` new episodes; evaluation calls it.

        Raises ValueError if both are given or there is no environment, EnvironmentFailed if it keeps failing.
        """
        if self.stepper is None:
            raise ValueError("this env runner has no environment to sample from: it only keeps the policy")
        if num_timesteps is not None and num_episodes is not None:
            raise ValueError(
                f"give num_timesteps ({num_timesteps}) or num_episodes ({num_episodes}), not both"
            )
        choose = None if random_actions else self._choose(self.config.explore if explore is None else explore)
        if force_reset:
            self.stepper.end_episodes()
        batches: list[RolloutBatch] = []
        missing = 0
        if num_episodes is not None:
            batches = [self.stepper.whole_episodes(num_episodes, choose, self._env_steps, 0, self._limit)]
        else:
            missing = num_timesteps or self.config.rollout_fragment_length * self.num_envs
        while missing > 0:
            num_steps = math.ceil(missing / self.num_envs)
            batches.append(self.stepper.fragment(num_steps, choose, self._env_steps))
            missing -= int(batches[-1].played().sum())
        for batch in batches:
            batch.weights_version = self._weights_version
            log_episodes(self.metrics, batch, self.stepper.num_failures, self._window())
            self.stepper.num_failures = 0
        return batches

    def _window(self) -> int:
        """Return how many of the last episodes RLlib's means are of."""
        if self.config.in_evaluation:
            duration: int | str = self.config.evaluation_duration
            return ALL_EPISODES if isinstance(duration, str) else duration  # "auto"
        smoothing = self.config.metrics_num_episodes_for_smoothing
        return int(max(1, math.ceil(smoothing / max(1, self.config.num_env_runners))))

    def get_metrics(self) -> Any:
        """Return what `sample` has logged since the last call."""
        return self.metrics.reduce()

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> StateDict:
        """Return the weights and the stepper's state, which are all it takes to go on exactly."""
        state: dict[str, Any] = {keys.WEIGHTS_SEQ_NO: self._weights_version}
        if self._check_component(COMPONENT_RL_MODULE, components, not_components):
            state[COMPONENT_RL_MODULE] = {DEFAULT_MODULE_ID: self.module.get_state(inference_only=True)}
        if self.stepper is not None and self._check_component(STEPPER_STATE, components, not_components):
            state[STEPPER_STATE] = {"of": self._identity(), **self.stepper.state()}
        return state

    def _identity(self) -> tuple[Any, ...]:
        """Return what must be equal for one runner's environments to replace another's."""
        return self.config.in_evaluation, str(self.config.env), dict(self.config.env_config), self.num_envs

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a state, which may hold weights only.

        RLlib also gives an evaluation runner the state of a training runner; then new episodes begin.
        """
        weights = state.get(COMPONENT_RL_MODULE)
        if weights is not None:
            weights = ray.get(weights) if isinstance(weights, ray.ObjectRef) else weights
            self.module.set_state(weights.get(DEFAULT_MODULE_ID, weights))
            self._weights_version = state.get(keys.WEIGHTS_SEQ_NO, -1)
        self._env_steps = state.get(keys.NUM_ENV_STEPS_SAMPLED_LIFETIME, self._env_steps)
        stepper = state.get(STEPPER_STATE)
        if stepper is not None and self.stepper is not None:
            if stepper["of"] == self._identity():
                self.stepper.set_state(stepper)
            else:
                self.stepper.end_episodes()

    def get_ctor_args_and_kwargs(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return how to make another runner like it."""
        return (), {"config": self.config, "worker_index": self.worker_index, "num_workers": self.num_workers}


def collect_rollout(runner: VectorEnvRunner, **request: Any) -> RolloutResult:
    """Collect where the runner is. The batch stays in that machine's object store; its reference travels."""
    result = runner.collect(**request)
    return result if result.batch is None else replace(result, batch=ray.put(result.batch))
