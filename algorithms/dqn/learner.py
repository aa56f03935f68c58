"""The central learner: replay and networks on one device, and many updates per call. One RLlib TorchLearner, local or a Ray actor.

    learn(rollouts):  references --get--> columns --> replay.add --> num_updates x [ batch --> loss --> gradient --> Adam ] --> new weights

How many updates a call does is what `training_intensity` says for the transitions that came with it, so the ratio of trained to sampled
steps holds whoever is faster. Nothing is copied from the device until the updates of a call are done."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import ray
import torch
from ray.exceptions import ObjectLostError, OwnerDiedError
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns as Names
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, TargetNetworkAPI
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.rllib.utils.checkpoints import Checkpointable
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME
from torch import Tensor

from algorithms.dqn.losses import double_q_targets, q_targets, td_loss
from algorithms.dqn.networks import QNetwork
from algorithms.dqn.options import DQNOptions
from algorithms.dqn.replay import Batch, UniformReplay
from algorithms.rollouts.columns import Columns
from algorithms.rollouts.env_runner import Rollout
from algorithms.schedules import as_schedule, value_at
from algorithms.updates import check_finite

Q_PREDS, NEXT_Q_PREDS, TARGET_NEXT_Q_PREDS = "qf_preds", "qf_next_preds", "qf_target_next_preds"
"""What `forward_train` returns, each [B, A]: RLlib's own names."""

REPLAY = "replay"
"""Component of the learner's checkpoint, under RLlib's `store_buffer_in_checkpoints`."""

PROGRESS = "progress"
"""Component of the learner's state: what it has done and what it owes."""

REPLAY_SPAWN_KEY = 2
"""Of the replay's random numbers; env runners have 0 (training) and 1 (evaluation), see `env_runner.seed_sequence`."""

GATHER_BATCHES = 64
"""Minibatches that are gathered from the replay at a time."""


class QModule(TorchRLModule, InferenceOnlyAPI, TargetNetworkAPI):
    """Q-network and epsilon-greedy policy as an RLModule; the learner's has a target network besides."""

    def setup(self) -> None:
        """Build the network that `model_config` describes."""
        self.qf = QNetwork(
            obs_size=math.prod(self.observation_space.shape),
            num_actions=int(self.action_space.n),
            hiddens=self.model_config["fcnet_hiddens"],
            activation=self.model_config["fcnet_activation"],
        )
        self._epsilon = as_schedule(self.model_config["epsilon"])

    def make_target_networks(self) -> None:
        """Add the target network, which begins as a copy."""
        self.target_qf = copy.deepcopy(self.qf).requires_grad_(False)

    def get_target_network_pairs(self) -> list[tuple[QNetwork, QNetwork]]:
        """Return (online, target)."""
        return [(self.qf, self.target_qf)]

    def get_non_inference_attributes(self) -> list[str]:
        """Return what env runners do without."""
        return ["target_qf"]

    def forward_target(self, batch: Batch) -> dict[str, Tensor]:
        """Return the target network's values of `new_obs`."""
        with torch.no_grad():
            return {TARGET_NEXT_Q_PREDS: self.target_qf(batch[Names.NEXT_OBS])}

    def _forward_inference(self, batch: Batch, **kwargs: Any) -> dict[str, Tensor]:
        """Return the greedy actions [N]."""
        return {Names.ACTIONS: self.qf(batch[Names.OBS]).argmax(dim=1)}

    def _forward_exploration(self, batch: Batch, t: int = 0, generator: torch.Generator | None = None, **kwargs: Any) -> dict[str, Tensor]:
        """Return actions [N]: with probability epsilon after `t` environment steps any, else the greedy one."""
        q_NA = self.qf(batch[Names.OBS])
        num, num_actions = q_NA.shape
        any_N = torch.randint(num_actions, (num,), generator=generator)
        explores_N = torch.rand(num, generator=generator) < value_at(self._epsilon, t)
        return {Names.ACTIONS: torch.where(explores_N, any_N, q_NA.argmax(dim=1))}

    def _forward_train(self, batch: Batch, **kwargs: Any) -> dict[str, Tensor]:
        """Return the values of `obs` [B, A], and without gradient those of `new_obs` by either network."""
        with torch.no_grad():
            next_q = {NEXT_Q_PREDS: self.qf(batch[Names.NEXT_OBS])} if self.model_config["double_q"] else {}
        return {Q_PREDS: self.qf(batch[Names.OBS]), **next_q, **self.forward_target(batch)}


@dataclass
class Learned:
    """What came of a call of `learn`."""

    weights: dict[str, np.ndarray] | ray.ObjectRef | None
    """Those of the policy, by name; None if there was no update."""
    weights_version: int
    num_env_steps_added: int
    num_updates: int
    num_rollouts_lost: int
    """Rollouts whose owner died before they were fetched."""
    weights_lags: list[int]
    """Of each rollout, how many versions ago its actions were chosen."""
    num_env_steps_trained_lifetime: int
    num_updates_lifetime: int
    metrics: dict[str, float] = field(default_factory=dict)
    """Of the updates: total_loss (their mean); qf_mean and td_error_mean (of the last); replay_size; lr."""
    learn_s: float = 0.0


class DQNLearner(TorchLearner):
    """Holds the replay and does the updates."""

    def build(self) -> None:
        """Build networks, optimizer and replay on the learner's device."""
        super().build()
        self._options: DQNOptions = self.config.options
        module = self._q_module()
        module.make_target_networks()
        self._online, self._target = list(module.qf.parameters()), list(module.target_qf.parameters())
        space = module.observation_space
        dtype = np.dtype(np.float32) if space.dtype.kind == "f" else space.dtype
        obs_dtype = torch.from_numpy(np.empty(0, dtype)).dtype
        seed = int(np.random.SeedSequence(self.config.seed, spawn_key=(REPLAY_SPAWN_KEY,)).generate_state(1)[0])
        self.replay = UniformReplay(self._options.replay_buffer_capacity, space.shape, obs_dtype, self._device, seed)
        self._num_updates = 0
        self._owed = 0.0  # transitions that `training_intensity` says should have been trained on, and have not yet been

    def _q_module(self) -> Any:
        return self.module[DEFAULT_MODULE_ID]

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Register Adam, with the config's `lr` or its schedule, and `adam_epsilon`."""
        params = [param for param in self.get_parameters(self.module[module_id]) if param.requires_grad]
        optimizer = torch.optim.Adam(params, eps=config.adam_epsilon, fused=True)
        self.register_optimizer(module_id=module_id, optimizer=optimizer, params=params, lr_or_lr_schedule=config.lr)

    def compute_loss_for_module(self, *, module_id: str, config: Any, batch: Batch, fwd_out: dict[str, Tensor]) -> Tensor:
        """Return the loss of one minibatch, a scalar; see losses.py. Override it to learn from another."""
        discount = config.gamma * (~batch[Names.TERMINATEDS]).float()
        if config.double_q:
            targets = double_q_targets(batch[Names.REWARDS], discount, fwd_out[NEXT_Q_PREDS], fwd_out[TARGET_NEXT_Q_PREDS])
        else:
            targets = q_targets(batch[Names.REWARDS], discount, fwd_out[TARGET_NEXT_Q_PREDS])
        return td_loss(fwd_out[Q_PREDS], batch[Names.ACTIONS], targets, config.td_error_loss_fn)

    def learn(self, rollouts: list[Rollout], env_steps: int) -> Learned:
        """Add the rollouts to the replay, do the updates that are due, and return the new weights.

        `env_steps` is how many all runners have taken together: a schedule of the step size depends on it. Raises TrainingDiverged.
        """
        began = time.perf_counter()
        num_added, num_lost, lags = self._add(rollouts)
        if self.replay.size >= self._options.num_steps_sampled_before_learning_starts:
            self._owed += num_added * self._options.training_intensity
        batch_size = self._options.train_batch_size_per_learner
        num_updates = int(self._owed // batch_size)
        self._owed -= num_updates * batch_size
        metrics = {"replay_size": float(self.replay.size)}
        weights = None
        if num_updates:
            metrics |= self._update_many(num_updates)
            self.after_gradient_based_update(timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: env_steps})
            self.metrics.reduce()  # RLlib logs the step size there, and would keep every value
            self._weights_seq_no += 1
            weights = self._q_module().get_state(inference_only=True)
        return Learned(
            weights=weights,
            weights_version=self._weights_seq_no,
            num_env_steps_added=num_added,
            num_updates=num_updates,
            num_rollouts_lost=num_lost,
            weights_lags=lags,
            num_env_steps_trained_lifetime=self._num_updates * batch_size,
            num_updates_lifetime=self._num_updates,
            metrics=metrics | {"lr": float(self._get_optimizer_lr(self.get_optimizer(DEFAULT_MODULE_ID)))},
            learn_s=time.perf_counter() - began,
        )

    def _add(self, rollouts: list[Rollout]) -> tuple[int, int, list[int]]:
        """Put rollouts into the replay; return how many transitions came, how many rollouts were lost, and the lags of the others."""
        num_added, num_lost, lags = 0, 0, []
        for rollout in rollouts:
            try:
                columns = ray.get(rollout.columns) if isinstance(rollout.columns, ray.ObjectRef) else rollout.columns
            except (OwnerDiedError, ObjectLostError):  # its runner died after it had answered
                num_lost += 1
                continue
            assert isinstance(columns, Columns)
            self.replay.add(columns.transitions())
            num_added += rollout.num_env_steps
            lags.append(self._weights_seq_no - rollout.weights_version)
        return num_added, num_lost, lags

    def _update_many(self, num_updates: int) -> dict[str, float]:
        """Do so many updates; return their metrics."""
        module, module_id, options = self._q_module(), DEFAULT_MODULE_ID, self._options
        optimizer = self.get_optimizer(module_id)
        module.train()
        losses: list[Tensor] = []
        first_update = self._num_updates + 1
        while len(losses) < num_updates:
            for batch in self.replay.sample(min(GATHER_BATCHES, num_updates - len(losses)), options.train_batch_size_per_learner):
                fwd_out = module._forward_train(batch)
                loss = self.compute_loss_for_module(module_id=module_id, config=self.config, batch=batch, fwd_out=fwd_out)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                if options.grad_clip < math.inf:
                    torch.nn.utils.clip_grad_norm_(self._online, options.grad_clip)
                optimizer.step()
                losses.append(loss.detach())
                self._num_updates += 1
                if self._num_updates % options.updates_per_target_update == 0:
                    self._update_target()
        check_finite(torch.stack(losses).unsqueeze(1), ("total_loss",), first_update)
        q_B = fwd_out[Q_PREDS].detach().gather(1, batch[Names.ACTIONS].unsqueeze(1))
        return {"total_loss": torch.stack(losses).mean().item(), "qf_mean": q_B.mean().item()}

    @torch.no_grad()
    def _update_target(self) -> None:
        """Move the target network towards the online one by `tau`; 1 makes them equal."""
        torch._foreach_lerp_(self._target, self._online, self._options.tau)

    # Checkpoints

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict[str, Any]:
        """Return RLlib's state of a learner (networks, optimizer), and the replay and the counters."""
        state: dict[str, Any] = super().get_state(components, not_components=not_components, **kwargs)
        if self._check_component(PROGRESS, components, not_components):
            state[PROGRESS] = {"num_updates": self._num_updates, "owed": self._owed}
        if self.config.store_buffer_in_checkpoints and self._check_component(REPLAY, components, not_components):
            state[REPLAY] = self.replay.state_dict()
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on as `state` says; without a replay in it, learning starts once there is a new one."""
        self._weights_seq_no = 0  # RLlib would ignore a state that is older than this learner
        super().set_state(state)
        if PROGRESS in state:
            self._num_updates, self._owed = state[PROGRESS]["num_updates"], state[PROGRESS]["owed"]
        if REPLAY in state:
            self.replay.load_state_dict(state[REPLAY])

    def get_checkpointable_components(self) -> list[tuple[str, Any]]:
        """Return RLlib's components, and the replay."""
        components: list[tuple[str, Any]] = super().get_checkpointable_components()
        if self.config.store_buffer_in_checkpoints:
            components.append((REPLAY, ReplayCheckpoint(self.replay)))
        return components


def learn(learner: DQNLearner, rollouts: list[Rollout], env_steps: int) -> Learned:
    """Do a call of `learn` on the learner's side, wherever that is; the weights of a Ray actor stay in its machine's object store."""
    learned = learner.learn(rollouts, env_steps)
    if learned.weights is None or not learner.config.num_learners:
        return learned
    return replace(learned, weights=ray.put(learned.weights))


def policy_weights(learner: DQNLearner) -> tuple[dict[str, np.ndarray], int]:
    """Return the weights of the policy as they are, and their version."""
    return learner._q_module().get_state(inference_only=True), learner._weights_seq_no


class ReplayCheckpoint(Checkpointable):
    """Saves a replay to a folder of its own, and fills it from there."""

    def __init__(self, replay: UniformReplay) -> None:
        self._replay = replay

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict[str, Any]:
        """Return the transitions as numpy arrays."""
        return self._replay.state_dict()

    def set_state(self, state: dict[str, Any]) -> None:
        """Hold them."""
        self._replay.load_state_dict(state)

    def get_ctor_args_and_kwargs(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return how to make an empty one like it; RLlib writes it down."""
        return (), {}
