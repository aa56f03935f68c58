"""What our RLlib algorithms share: env runners that return arrays, one central learner, no connectors.

    env_runner.py <-- runner_pool.py <-- samplers.py <-- training_step --> learner.py

Each algorithm has its own `training_step`. Checkpoints also hold the policy as plain files."""

from __future__ import annotations

import math
import os
from functools import partial
from pathlib import PurePath
from typing import Any, ClassVar

import pyarrow.fs
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, EVALUATION_RESULTS, LEARNER_RESULTS
from ray.rllib.utils.typing import StateDict

from algorithms.rl import vector_envs
from algorithms.rl.config import RolloutConfig
from algorithms.rl.learner import LearnResult, policy_weights
from algorithms.rl.policy_files import PolicyDescription, PolicyKind, action_sizes
from algorithms.rl.rollout_batch import RolloutResult
from algorithms.rl.rollout_stats import IterationTotals, RolloutStats
from algorithms.rl.runner_pool import RunnerPool, require_resources

STATS, SAMPLER = "rollout_stats", "sampler"
"""Components of the algorithm's state."""


class RolloutAlgorithm(Algorithm):
    """An RLlib algorithm whose env runners return arrays to one central learner."""

    policy_kind: ClassVar[PolicyKind] = "distribution"
    """How the policy acts: by the highest value, or by a distribution; see policy_files.py."""

    def setup(self, config: RolloutConfig) -> None:
        """Start env runners and learner.

        Raises ValueError before that if the environment can't be made or does not suit the algorithm.
        """
        env, env_config = self.config.env_and_config()
        single = vector_envs.make_one(env, env_config)
        try:
            self.config.require_spaces(single.observation_space, single.action_space)
        finally:
            single.close()  # type: ignore[no-untyped-call]
        require_resources(self.config)
        super().setup(config)
        self._stats = RolloutStats(window=self.config.metrics_num_episodes_for_smoothing)
        self._pool = RunnerPool(self.env_runner_group, self.config, self._stats)
        self._sampler = self.config.make_sampler(self._pool)
        self._pool.broadcast(*self._on_learner(policy_weights))
        self._totals = IterationTotals()

    def _on_learner(self, function: Any, **kwargs: Any) -> Any:
        """Return `function(learner, **kwargs)`, called where the learner is.

        Raises RuntimeError if the learner is lost: RLlib's calls of a lost learner just return nothing.
        """
        results = list(self.learner_group.foreach_learner(partial(function, **kwargs)))
        if len(results) == 1 and results[0].ok:
            return results[0].get()
        reason = results[0].get() if results else "an earlier call failed; Ray's log says why"
        raise RuntimeError(f"the learner is lost: {reason}")

    def _log(self, rollouts: list[RolloutResult], learned: LearnResult) -> None:
        """End the training step and log it, under RLlib's keys where it has one."""
        totals = self._totals
        totals.end_step(
            env_steps=learned.num_env_steps,
            updates=learned.num_updates,
            loss=learned.metrics.pop("total_loss", 0.0) * learned.num_updates,
            lag=sum(learned.weights_lags),
            rollouts=len(learned.weights_lags),
            learn_s=learned.learn_s,
            runners_idle_s=sum(rollout.idle_s for rollout in rollouts),
            runners_s=sum(rollout.idle_s + rollout.busy_s for rollout in rollouts),
        )
        self._stats.faults["num_rollouts_lost"] += learned.num_rollouts_lost
        for name, (value, reduction) in self._stats.report(rollouts).items():
            self.metrics.log_value((ENV_RUNNER_RESULTS, name), value, reduce=reduction)
        if learned.num_updates_lifetime:
            learned.metrics["total_loss"] = totals.per("loss", "updates")
        self._log_last(
            *(LEARNER_RESULTS, DEFAULT_MODULE_ID),
            **learned.metrics,
            num_updates_lifetime=learned.num_updates_lifetime,
            weights_seq_no=learned.weights_version,
        )
        self._log_last(
            env_steps_per_s=totals.per("env_steps"),
            updates_per_s=totals.per("updates"),
            weights_lag=totals.per("lag", "rollouts"),
            learner_idle_share=1 - totals.per("learn_s"),
            env_runners_idle_share=totals.per("runners_idle_s", "runners_s"),
        )

    def _log_last(self, *group: str, **values: float) -> None:
        """Log values under RLlib's keys of a group; the last value of an iteration is reported."""
        for name, value in values.items():
            self.metrics.log_value((*group, name), value, reduce="item")

    # RLlib's calls that behave otherwise here

    def get_module(self, module_id: str = DEFAULT_MODULE_ID) -> Any:
        """Return the policy's module with its newest weights; RLlib's own would return older ones."""
        module = super().get_module(module_id)
        if module is not None and module_id == DEFAULT_MODULE_ID:
            module.set_state(self._on_learner(policy_weights)[0])
        return module

    def cleanup(self) -> None:
        """Stop all actors, also those that hang."""
        if hasattr(self, "_pool"):
            self._pool.stop_silent()
        super().cleanup()

    def _compile_iteration_results(
        self, *, train_results: dict[str, Any], eval_results: dict[str, Any]
    ) -> dict[str, Any]:
        """Return RLlib's result, with `evaluation` only if there was one. RLlib would repeat the last one."""
        if not eval_results:
            train_results.pop(EVALUATION_RESULTS, None)
        results: dict[str, Any] = super()._compile_iteration_results(
            train_results=train_results, eval_results=eval_results
        )
        return results

    def restore_env_runners(self, env_runner_group: EnvRunnerGroup) -> list[int]:
        """Return the runners that Ray has brought back. They get the weights with their next request."""
        restored: list[int] = env_runner_group.probe_unhealthy_env_runners()
        return restored

    # Checkpoints

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> StateDict:
        """Return RLlib's state, the counts and the sampler's state."""
        state = super().get_state(components, not_components=not_components, **kwargs)
        for name, part in ((STATS, self._stats), (SAMPLER, self._sampler)):
            if self._check_component(name, components, not_components):
                state[name] = part.state()
        return state

    def set_state(self, state: StateDict) -> None:
        """Go on from `state`."""
        super().set_state(state)
        for name, part in ((STATS, self._stats), (SAMPLER, self._sampler)):
            if name in state:
                part.set_state(state[name])
        self._pool.broadcast(*self._on_learner(policy_weights))

    def save_to_path(self, path: Any = None, *args: Any, filesystem: Any = None, **kwargs: Any) -> str:
        """Save everything, and the policy as `policy.safetensors` and `policy.json`.

        Raises RuntimeError if the learner is lost. The files are left out for a network of the user's own.
        """
        if path is not None and filesystem is None:
            uri = str(path) if "://" in str(path) else os.path.abspath(path)
            filesystem, path = pyarrow.fs.FileSystem.from_uri(uri)
        saved: str = super().save_to_path(path, *args, filesystem=filesystem, **kwargs)
        weights, _ = self._on_learner(policy_weights)
        module = self.env_runner_group.local_env_runner.module
        if type(module) is self.config.module_class:
            filesystem = filesystem or pyarrow.fs.LocalFileSystem()
            for name, content in self._policy_files(module, weights).items():
                with filesystem.open_output_stream(str(PurePath(saved, name))) as file:
                    file.write(content)
        return saved

    def _policy_files(self, module: Any, weights: dict[str, Any]) -> dict[str, bytes]:
        env, options = self.config.env, self.config.options
        num_actions, action_size = action_sizes(module.action_space)
        description = PolicyDescription(
            algorithm=self.config.algo_class.__name__.lower(),
            policy=self.policy_kind,
            env=env if isinstance(env, str) else f"{env.__module__}.{env.__qualname__}",
            env_config=dict(self.config.env_config),
            obs_size=math.prod(module.observation_space.shape),
            num_actions=num_actions,
            action_size=action_size,
            fcnet_hiddens=tuple(options.fcnet_hiddens),
            fcnet_activation=options.fcnet_activation,
            num_env_steps_sampled_lifetime=self._stats.env_steps,
        )
        tensors = {
            name.partition(".")[2]: torch.from_numpy(weight).clone() for name, weight in weights.items()
        }
        return description.files(tensors)

    def restore_from_path(self, path: Any, *args: Any, **kwargs: Any) -> None:
        """Go on from a checkpoint. Raises RuntimeError if the learner is lost."""
        local = not kwargs.get("filesystem") and "://" not in str(path)
        super().restore_from_path(os.path.abspath(path) if local else path, *args, **kwargs)
        self._pool.broadcast(*self._on_learner(policy_weights))
