"""What our central learners share: rollouts come as references, and weights go out by name."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import ray
import torch
from ray.exceptions import ObjectLostError, OwnerDiedError
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.learner import DEFAULT_OPTIMIZER
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME
from ray.rllib.utils.typing import StateDict

from algorithms.rl.rollout_batch import RolloutBatch, RolloutResult

PROGRESS = "progress"
"""Component of the learner's state: its counters."""


@dataclass
class LearnResult:
    """The outcome of a call of `learn`."""

    weights: dict[str, np.ndarray] | ray.ObjectRef | None
    """The policy's weights by name; None if there was no update."""
    weights_version: int
    num_updates_lifetime: int
    num_env_steps: int = 0
    """Environment steps in the rollouts."""
    num_updates: int = 0
    num_rollouts_lost: int = 0
    """Rollouts whose owner died before they were fetched."""
    weights_lags: list[int] = field(default_factory=list)
    """For each rollout, how many versions ago its actions were chosen."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Of the updates: total_loss (their mean), lr, and the algorithm's own."""
    learn_s: float = 0.0


class RolloutLearner(TorchLearner):
    """Learns from rollouts: an RLlib TorchLearner, in the algorithm's process or a Ray actor."""

    needs_every_rollout: ClassVar[bool] = False
    """Whether `learn` does nothing if a rollout is lost."""

    def build(self) -> None:
        """Build networks and optimizers on the learner's device."""
        self.options: Any = self.config.options
        self._num_updates = 0
        super().build()

    @property
    def policy_module(self) -> Any:
        """The algorithm's RLModule."""
        return self.module[DEFAULT_MODULE_ID]

    def add_adam(self, params: Iterable[torch.nn.Parameter], lr: Any, name: str = DEFAULT_OPTIMIZER) -> None:
        """Register Adam for these parameters, `lr` may be a schedule; the default name is the policy's."""
        trained = [param for param in params if param.requires_grad]
        self.register_optimizer(
            module_id=DEFAULT_MODULE_ID,
            optimizer_name=name,
            optimizer=torch.optim.Adam(trained, eps=self.options.adam_epsilon, fused=True),
            params=trained,
            lr_or_lr_schedule=lr,
        )

    def learn(self, rollouts: list[RolloutResult], env_steps: int) -> LearnResult:
        """Learn from the rollouts and return the new weights.

        `env_steps` is the number of steps of all runners so far; schedules use it. Raises TrainingDiverged.
        """
        began = time.perf_counter()
        batches = [batch for rollout in rollouts if (batch := _fetched(rollout)) is not None]
        num_lost = len(rollouts) - len(batches)
        if num_lost and self.needs_every_rollout:
            return LearnResult(None, self._weights_seq_no, self._num_updates, num_rollouts_lost=num_lost)
        lags = [self._weights_seq_no - batch.weights_version for batch in batches]
        updates_before = self._num_updates
        metrics = self.learn_from(batches, env_steps)
        weights = None
        if self._num_updates > updates_before:
            self.after_gradient_based_update(timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: env_steps})
            self.metrics.reduce()  # RLlib logs the step size there, and would keep every value
            self._weights_seq_no += 1
            weights = self.policy_module.get_state(inference_only=True)
        lr = float(self._get_optimizer_lr(self.get_optimizer(DEFAULT_MODULE_ID)))
        return LearnResult(
            weights=weights,
            weights_version=self._weights_seq_no,
            num_updates_lifetime=self._num_updates,
            num_env_steps=sum(batch.env_steps() for batch in batches),
            num_updates=self._num_updates - updates_before,
            num_rollouts_lost=num_lost,
            weights_lags=lags,
            metrics=metrics | {"lr": lr},
            learn_s=time.perf_counter() - began,
        )

    def learn_from(self, batches: list[RolloutBatch], env_steps: int) -> dict[str, float]:
        """Do the updates that are due, count them in `_num_updates`, and return their metrics."""
        raise NotImplementedError

    # Checkpoints

    def progress(self) -> dict[str, Any]:
        """Return the counters, for checkpoints."""
        return {"num_updates": self._num_updates}

    def set_progress(self, progress: dict[str, Any]) -> None:
        """Restore the counters."""
        self._num_updates = progress["num_updates"]

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> StateDict:
        """Return RLlib's state of a learner (networks, optimizers), and the counters."""
        state: StateDict = super().get_state(components, not_components=not_components, **kwargs)
        if self._check_component(PROGRESS, components, not_components):
            state[PROGRESS] = self.progress()
        return state

    def set_state(self, state: StateDict) -> None:
        """Go on from `state`."""
        self._weights_seq_no = 0  # else RLlib would ignore a state that is older than this learner
        super().set_state(state)
        if PROGRESS in state:
            self.set_progress(state[PROGRESS])


def _fetched(rollout: RolloutResult) -> RolloutBatch | None:
    """Return the rollout's batch, or None if its runner died after it had answered."""
    try:
        batch = ray.get(rollout.batch) if isinstance(rollout.batch, ray.ObjectRef) else rollout.batch
    except (OwnerDiedError, ObjectLostError):
        return None
    assert isinstance(batch, RolloutBatch)
    return batch


def learn(learner: RolloutLearner, rollouts: list[RolloutResult], env_steps: int) -> LearnResult:
    """Call `learn` where the learner is; the weights of a Ray actor stay in its machine's object store."""
    learned = learner.learn(rollouts, env_steps)
    if learned.weights is None or not learner.config.num_learners:
        return learned
    return replace(learned, weights=ray.put(learned.weights))


def policy_weights(learner: RolloutLearner) -> tuple[dict[str, np.ndarray], int]:
    """Return the current weights of the policy, and their version."""
    return learner.policy_module.get_state(inference_only=True), learner._weights_seq_no
