"""The central learner: replay and networks on one device, and many updates per call. One RLlib TorchLearner, local or a Ray actor.

    learn(rollouts):  references --get--> columns --> replay.add --> num_updates x [ batch --> loss --> gradient --> Adam ] --> new weights

How many updates a call does is what `training_intensity` says for the transitions that came with it, so the ratio of trained to sampled
steps holds whoever is faster. Nothing is copied from the device until the updates of a call are done."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns as Names
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, TargetNetworkAPI
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.rllib.utils.checkpoints import Checkpointable
from torch import Tensor

from algorithms.divergence import check_finite
from algorithms.dqn.losses import double_q_targets, q_targets, td_loss
from algorithms.dqn.networks import QNetwork
from algorithms.dqn.replay import Batch, UniformReplay
from algorithms.rl.learner import RolloutLearner
from algorithms.rl.rollout_batch import Columns
from algorithms.schedules import as_schedule, value_at

Q_PREDS, NEXT_Q_PREDS, TARGET_NEXT_Q_PREDS = "qf_preds", "qf_next_preds", "qf_target_next_preds"
"""What `forward_train` returns, each [B, A]: RLlib's own names."""

REPLAY = "replay"
"""Component of the learner's checkpoint, under RLlib's `store_buffer_in_checkpoints`."""

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

    def _forward_exploration(
        self, batch: Batch, t: int = 0, generator: torch.Generator | None = None, **kwargs: Any
    ) -> dict[str, Tensor]:
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


class DQNLearner(RolloutLearner):
    """Holds the replay and does the updates."""

    def build(self) -> None:
        """Build networks, optimizer and replay on the learner's device."""
        super().build()
        module = self.policy_module
        module.make_target_networks()
        self._online, self._target = list(module.qf.parameters()), list(module.target_qf.parameters())
        space = module.observation_space
        dtype = np.dtype(np.float32) if space.dtype.kind == "f" else space.dtype
        obs_dtype = torch.from_numpy(np.empty(0, dtype)).dtype
        seed = int(
            np.random.SeedSequence(self.config.seed, spawn_key=(REPLAY_SPAWN_KEY,)).generate_state(1)[0]
        )
        self.replay = UniformReplay(
            self._options.replay_buffer_capacity, space.shape, obs_dtype, self._device, seed
        )
        self._owed = 0.0  # transitions that `training_intensity` says should have been trained on, and have not yet been

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Register Adam, with the config's `lr` or its schedule, and `adam_epsilon`."""
        self.add_adam(self.get_parameters(self.module[module_id]), config.lr)

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: Batch, fwd_out: dict[str, Tensor]
    ) -> Tensor:
        """Return the loss of one minibatch, a scalar; see losses.py. Override it to learn from another."""
        discount = config.gamma * (~batch[Names.TERMINATEDS]).float()
        if config.double_q:
            targets = double_q_targets(
                batch[Names.REWARDS], discount, fwd_out[NEXT_Q_PREDS], fwd_out[TARGET_NEXT_Q_PREDS]
            )
        else:
            targets = q_targets(batch[Names.REWARDS], discount, fwd_out[TARGET_NEXT_Q_PREDS])
        return td_loss(fwd_out[Q_PREDS], batch[Names.ACTIONS], targets, config.td_error_loss_fn)

    def learn_from(self, rollouts: list[Columns], env_steps: int) -> dict[str, float]:
        """Add the rollouts to the replay and do the updates that are due; return replay_size, total_loss (their mean), qf_mean (last)."""
        num_added = 0
        for columns in rollouts:
            self.replay.add(columns.transitions())
            num_added += columns.env_steps()
        if self.replay.size >= self._options.num_steps_sampled_before_learning_starts:
            self._owed += num_added * self._options.training_intensity
        batch_size = self._options.train_batch_size_per_learner
        num_updates = int(self._owed // batch_size)
        self._owed -= num_updates * batch_size
        return {"replay_size": float(self.replay.size)} | (
            self._update_many(num_updates) if num_updates else {}
        )

    def _update_many(self, num_updates: int) -> dict[str, float]:
        """Do so many updates; return their metrics."""
        module, module_id, options = self.policy_module, DEFAULT_MODULE_ID, self._options
        optimizer = self.get_optimizer(module_id)
        module.train()
        losses: list[Tensor] = []
        first_update = self._num_updates + 1
        while len(losses) < num_updates:
            for batch in self.replay.sample(
                min(GATHER_BATCHES, num_updates - len(losses)), options.train_batch_size_per_learner
            ):
                fwd_out = module._forward_train(batch)
                loss = self.compute_loss_for_module(
                    module_id=module_id, config=self.config, batch=batch, fwd_out=fwd_out
                )
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

    def progress(self) -> dict[str, Any]:
        """Return what has been done, and what is owed."""
        return super().progress() | {"owed": self._owed}

    def set_progress(self, progress: dict[str, Any]) -> None:
        """Go on from there."""
        super().set_progress(progress)
        self._owed = progress["owed"]

    def get_state(
        self, components: Any = None, *, not_components: Any = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Return RLlib's state of a learner (networks, optimizer), the counters, and the replay."""
        state: dict[str, Any] = super().get_state(components, not_components=not_components, **kwargs)
        if self.config.store_buffer_in_checkpoints and self._check_component(
            REPLAY, components, not_components
        ):
            state[REPLAY] = self.replay.state_dict()
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on as `state` says; without a replay in it, learning starts once there is a new one."""
        super().set_state(state)
        if REPLAY in state:
            self.replay.load_state_dict(state[REPLAY])

    def get_checkpointable_components(self) -> list[tuple[str, Any]]:
        """Return RLlib's components, and the replay."""
        components: list[tuple[str, Any]] = super().get_checkpointable_components()
        if self.config.store_buffer_in_checkpoints:
            components.append((REPLAY, ReplayCheckpoint(self.replay)))
        return components


class ReplayCheckpoint(Checkpointable):
    """Saves a replay to a folder of its own, and fills it from there."""

    def __init__(self, replay: UniformReplay) -> None:
        self._replay = replay

    def get_state(
        self, components: Any = None, *, not_components: Any = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Return the transitions as numpy arrays."""
        return self._replay.state_dict()

    def set_state(self, state: dict[str, Any]) -> None:
        """Hold them."""
        self._replay.load_state_dict(state)

    def get_ctor_args_and_kwargs(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return how to make an empty one like it; RLlib writes it down."""
        return (), {}
