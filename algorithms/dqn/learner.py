"""DQN's central learner: replay and networks on one device, many updates per call. An RLlib TorchLearner.

    learn(rollouts):  replay.add --> num_updates x [ batch --> loss --> gradient --> Adam ] --> weights

`training_intensity` says how many updates a call does for its transitions. So the ratio of trained to sampled
steps holds, whichever side is faster. Nothing is copied from the device before the last update of a call."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, TargetNetworkAPI
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.rllib.utils.checkpoints import Checkpointable
from ray.rllib.utils.typing import StateDict
from torch import Tensor

from algorithms.divergence import check_finite
from algorithms.dqn.losses import double_q_targets, q_targets, td_loss
from algorithms.dqn.replay import Batch, UniformReplay
from algorithms.rl.learner import RolloutLearner
from algorithms.rl.networks import QNetwork
from algorithms.rl.rollout_batch import RolloutBatch
from algorithms.schedules import value_at

Q_PREDS, NEXT_Q_PREDS, TARGET_NEXT_Q_PREDS = "qf_preds", "qf_next_preds", "qf_target_next_preds"
"""Keys of `_forward_train`, each [B, A]; the names are RLlib's."""

REPLAY = "replay"
"""Component of the learner's checkpoint, if RLlib's setting `store_buffer_in_checkpoints` is on."""

REPLAY_SPAWN_KEY = 2
"""Spawn key of the replay's random numbers. Env runners have 0 and 1, see `RolloutConfig.seed_sequence`."""

GATHER_BATCHES = 64
"""Minibatches gathered from the replay at a time."""


class QModule(TorchRLModule, InferenceOnlyAPI, TargetNetworkAPI):
    """Q-network and epsilon-greedy policy as an RLModule; the learner's also has a target network."""

    def setup(self) -> None:
        """Build the network that the options describe."""
        self.options = self.model_config["options"]
        self.qf = QNetwork(
            obs_size=math.prod(self.observation_space.shape),
            num_actions=int(self.action_space.n),
            hiddens=self.options.fcnet_hiddens,
            activation=self.options.fcnet_activation,
        )

    def make_target_networks(self) -> None:
        """Add the target network, a copy of the online one."""
        self.target_qf = copy.deepcopy(self.qf).requires_grad_(False)

    def get_target_network_pairs(self) -> list[tuple[QNetwork, QNetwork]]:
        """Return (online, target)."""
        return [(self.qf, self.target_qf)]

    def get_non_inference_attributes(self) -> list[str]:
        """Return the networks that env runners do not need."""
        return ["target_qf"]

    def forward_target(self, batch: Batch) -> dict[str, Tensor]:
        """Return the target network's values of `new_obs`."""
        with torch.no_grad():
            return {TARGET_NEXT_Q_PREDS: self.target_qf(batch[Columns.NEXT_OBS])}

    def _forward_inference(self, batch: Batch, **kwargs: Any) -> dict[str, Tensor]:
        """Return the greedy actions [N]."""
        return {Columns.ACTIONS: self.qf(batch[Columns.OBS]).argmax(dim=1)}

    def _forward_exploration(
        self, batch: Batch, t: int = 0, generator: torch.Generator | None = None, **kwargs: Any
    ) -> dict[str, Tensor]:
        """Return actions [N]: random with probability epsilon (after `t` environment steps), else greedy."""
        q_NA = self.qf(batch[Columns.OBS])
        num, num_actions = q_NA.shape
        any_N = torch.randint(num_actions, (num,), generator=generator)
        explores_N = torch.rand(num, generator=generator) < value_at(self.options.epsilon, t)
        return {Columns.ACTIONS: torch.where(explores_N, any_N, q_NA.argmax(dim=1))}

    def _forward_train(self, batch: Batch, **kwargs: Any) -> dict[str, Tensor]:
        """Return Q of `obs` [B, A], and without gradient Q of `new_obs` by both networks."""
        with torch.no_grad():
            next_q = {NEXT_Q_PREDS: self.qf(batch[Columns.NEXT_OBS])} if self.options.double_q else {}
        return {Q_PREDS: self.qf(batch[Columns.OBS]), **next_q, **self.forward_target(batch)}


class DQNLearner(RolloutLearner):
    """Holds the replay and does the updates."""

    def build(self) -> None:
        """Build networks, optimizer and replay on the learner's device."""
        super().build()
        module = self.policy_module
        module.make_target_networks()
        self._online = list(module.qf.parameters())
        self._target = list(module.target_qf.parameters())
        space = module.observation_space
        dtype = np.dtype(np.float32) if space.dtype.kind == "f" else space.dtype
        obs_dtype = torch.from_numpy(np.empty(0, dtype)).dtype
        seeds = np.random.SeedSequence(self.config.seed, spawn_key=(REPLAY_SPAWN_KEY,))
        seed = int(seeds.generate_state(1)[0])
        self.replay = UniformReplay(
            self.options.replay_buffer_capacity, space.shape, obs_dtype, self._device, seed
        )
        self._owed = 0.0  # transitions still to train on, by `training_intensity`

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Register Adam for the online network."""
        self.add_adam(self.get_parameters(self.module[module_id]), self.options.lr)

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: Batch, fwd_out: dict[str, Tensor]
    ) -> Tensor:
        """Return the loss of one minibatch, a scalar; see losses.py. A subclass may return another loss."""
        rewards, next_q_target = batch[Columns.REWARDS], fwd_out[TARGET_NEXT_Q_PREDS]
        discount = self.options.gamma * (~batch[Columns.TERMINATEDS]).float()
        if self.options.double_q:
            targets = double_q_targets(rewards, discount, fwd_out[NEXT_Q_PREDS], next_q_target)
        else:
            targets = q_targets(rewards, discount, next_q_target)
        return td_loss(fwd_out[Q_PREDS], batch[Columns.ACTIONS], targets, self.options.td_error_loss_fn)

    def learn_from(self, batches: list[RolloutBatch], env_steps: int) -> dict[str, float]:
        """Add the rollouts to the replay and do the updates that are due.

        Returns replay_size, and after updates total_loss (their mean) and qf_mean (of the last).
        """
        num_added = 0
        for batch in batches:
            self.replay.add(batch.transitions())
            num_added += batch.env_steps()
        if self.replay.size >= self.options.num_steps_sampled_before_learning_starts:
            self._owed += num_added * self.options.training_intensity
        batch_size = self.options.train_batch_size_per_learner
        num_updates = int(self._owed // batch_size)
        self._owed -= num_updates * batch_size
        metrics = self._update_many(num_updates) if num_updates else {}
        return {"replay_size": float(self.replay.size)} | metrics

    def _update_many(self, num_updates: int) -> dict[str, float]:
        """Do this many updates; return their metrics."""
        self.policy_module.train()
        losses: list[Tensor] = []
        first_update = self._num_updates + 1
        while len(losses) < num_updates:
            num_batches = min(GATHER_BATCHES, num_updates - len(losses))
            for batch in self.replay.sample(num_batches, self.options.train_batch_size_per_learner):
                loss, fwd_out = self._update(batch)
                losses.append(loss)
        check_finite(torch.stack(losses).unsqueeze(1), ("total_loss",), first_update)
        q_B = fwd_out[Q_PREDS].detach().gather(1, batch[Columns.ACTIONS].unsqueeze(1))
        return {"total_loss": torch.stack(losses).mean().item(), "qf_mean": q_B.mean().item()}

    def _update(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Do one update, and move the target network if that is due; return the loss and the forward pass."""
        fwd_out = self.policy_module._forward_train(batch)
        loss = self.compute_loss_for_module(
            module_id=DEFAULT_MODULE_ID, config=self.config, batch=batch, fwd_out=fwd_out
        )
        optimizer = self.get_optimizer(DEFAULT_MODULE_ID)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if self.options.grad_clip < math.inf:
            torch.nn.utils.clip_grad_norm_(self._online, self.options.grad_clip)
        optimizer.step()
        self._num_updates += 1
        if self._num_updates % self.options.updates_per_target_update == 0:
            self._update_target()
        return loss.detach(), fwd_out

    @torch.no_grad()
    def _update_target(self) -> None:
        """Move the target network towards the online one by `tau`; 1 makes them equal."""
        torch._foreach_lerp_(self._target, self._online, self.options.tau)

    # Checkpoints

    def progress(self) -> dict[str, Any]:
        """Return the counters, and the transitions still to train on."""
        return super().progress() | {"owed": self._owed}

    def set_progress(self, progress: dict[str, Any]) -> None:
        """Restore the counters."""
        super().set_progress(progress)
        self._owed = progress["owed"]

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> StateDict:
        """Return RLlib's state of a learner (networks, optimizer), the counters, and the replay."""
        state: StateDict = super().get_state(components, not_components=not_components, **kwargs)
        if self.config.store_buffer_in_checkpoints and self._check_component(
            REPLAY, components, not_components
        ):
            state[REPLAY] = self.replay.state_dict()
        return state

    def set_state(self, state: StateDict) -> None:
        """Go on from `state`. Without a replay in it, learning starts once a new one is filled."""
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
    """Makes RLlib save the replay to a folder of its own, and load it."""

    def __init__(self, replay: UniformReplay) -> None:
        self._replay = replay

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> StateDict:
        """Return the transitions as numpy arrays."""
        return self._replay.state_dict()

    def set_state(self, state: StateDict) -> None:
        """Load the transitions."""
        self._replay.load_state_dict(state)

    def get_ctor_args_and_kwargs(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return no arguments: RLlib writes them down, and nothing here reads them."""
        return (), {}
