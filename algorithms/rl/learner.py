"""What our central learners have in common: rollouts come as references, weights go out by name, and checkpoints hold the counters."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import ray
import torch
from ray.exceptions import ObjectLostError, OwnerDiedError
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.learner import DEFAULT_OPTIMIZER
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME

from algorithms.rl.env_runner import Rollout
from algorithms.rl.rollout_batch import Columns

PROGRESS = "progress"
"""Component of the learner's state: what it has done."""


@dataclass
class Learned:
    """What came of a call of `learn`."""

    weights: dict[str, np.ndarray] | ray.ObjectRef | None
    """Those of the policy, by name; None if there was no update."""
    weights_version: int
    num_env_steps: int
    """Environment steps that came with the rollouts."""
    num_updates: int
    num_rollouts_lost: int
    """Rollouts whose owner died before they were fetched."""
    weights_lags: list[int]
    """Of each rollout, how many versions ago its actions were chosen."""
    num_updates_lifetime: int
    metrics: dict[str, float] = field(default_factory=dict)
    """Of the updates: total_loss (their mean), lr, and the algorithm's own."""
    learn_s: float = 0.0


class RolloutLearner(TorchLearner):
    """Learns from rollouts: one RLlib TorchLearner, in the algorithm's process or a Ray actor."""

    def build(self) -> None:
        """Build networks and optimizers on the learner's device."""
        super().build()
        self._options: Any = self.config.options
        self._num_updates = 0

    @property
    def policy_module(self) -> Any:
        """The algorithm's RLModule."""
        return self.module[DEFAULT_MODULE_ID]

    def add_adam(self, params: Iterable[torch.nn.Parameter], lr: Any, name: str = DEFAULT_OPTIMIZER) -> None:
        """Register Adam for these parameters, with a step size or its schedule; the policy's is the one of the default name."""
        trained = [param for param in params if param.requires_grad]
        self.register_optimizer(
            module_id=DEFAULT_MODULE_ID,
            optimizer_name=name,
            optimizer=torch.optim.Adam(trained, eps=self.config.adam_epsilon, fused=True),
            params=trained,
            lr_or_lr_schedule=lr,
        )

    def learn(self, rollouts: list[Rollout], env_steps: int) -> Learned:
        """Learn from the rollouts and return the new weights.

        `env_steps` is how many all runners have taken together: schedules depend on it. A batch of whole episodes of which a rollout is
        lost is not learned from at all. Raises TrainingDiverged.
        """
        began = time.perf_counter()
        columns = [fetched for rollout in rollouts if (fetched := _fetched(rollout)) is not None]
        num_lost = len(rollouts) - len(columns)
        if num_lost and self.config.whole_episodes:  # half a batch is none: it is to be played again
            return Learned(None, self._weights_seq_no, 0, 0, num_lost, [], self._num_updates)
        lags = [self._weights_seq_no - rollout.weights_version for rollout in columns]
        updates_before = self._num_updates
        metrics = self.learn_from(columns, env_steps)
        weights = None
        if self._num_updates > updates_before:
            self.after_gradient_based_update(timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: env_steps})
            self.metrics.reduce()  # RLlib logs the step size there, and would keep every value
            self._weights_seq_no += 1
            weights = self.policy_module.get_state(inference_only=True)
        lr = float(self._get_optimizer_lr(self.get_optimizer(DEFAULT_MODULE_ID)))
        return Learned(
            weights=weights,
            weights_version=self._weights_seq_no,
            num_env_steps=sum(rollout.env_steps() for rollout in columns),
            num_updates=self._num_updates - updates_before,
            num_rollouts_lost=num_lost,
            weights_lags=lags,
            num_updates_lifetime=self._num_updates,
            metrics=metrics | {"lr": lr},
            learn_s=time.perf_counter() - began,
        )

    def learn_from(self, rollouts: list[Columns], env_steps: int) -> dict[str, float]:
        """Do the updates that are due, count them in `_num_updates`, and return their metrics."""
        raise NotImplementedError

    # Checkpoints

    def progress(self) -> dict[str, Any]:
        """Return what has been done, for checkpoints."""
        return {"num_updates": self._num_updates}

    def set_progress(self, progress: dict[str, Any]) -> None:
        """Go on from there."""
        self._num_updates = progress["num_updates"]

    def get_state(
        self, components: Any = None, *, not_components: Any = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Return RLlib's state of a learner (networks, optimizers), and what it has done."""
        state: dict[str, Any] = super().get_state(components, not_components=not_components, **kwargs)
        if self._check_component(PROGRESS, components, not_components):
            state[PROGRESS] = self.progress()
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on as `state` says."""
        self._weights_seq_no = 0  # RLlib would ignore a state that is older than this learner
        super().set_state(state)
        if PROGRESS in state:
            self.set_progress(state[PROGRESS])


def _fetched(rollout: Rollout) -> Columns | None:
    """Return the rollout's columns, or None where its runner died after it had answered."""
    try:
        columns = ray.get(rollout.columns) if isinstance(rollout.columns, ray.ObjectRef) else rollout.columns
    except (OwnerDiedError, ObjectLostError):
        return None
    assert isinstance(columns, Columns)
    return columns


def learn(learner: RolloutLearner, rollouts: list[Rollout], env_steps: int) -> Learned:
    """Do a call of `learn` on the learner's side, wherever that is; the weights of a Ray actor stay in its machine's object store."""
    learned = learner.learn(rollouts, env_steps)
    if learned.weights is None or not learner.config.num_learners:
        return learned
    return replace(learned, weights=ray.put(learned.weights))


def policy_weights(learner: RolloutLearner) -> tuple[dict[str, np.ndarray], int]:
    """Return the weights of the policy as they are, and their version."""
    return learner.policy_module.get_state(inference_only=True), learner._weights_seq_no
