"""The toy's central learner: one update for each rollout."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor

from algorithms.divergence import check_finite
from algorithms.rl.learner import RolloutLearner
from algorithms.rl.networks import CategoricalPolicy, ValueNetwork
from algorithms.rl.rollout_batch import RolloutBatch
from toy_rl.losses import actor_critic_loss, td_errors


class ToyModule(TorchRLModule, InferenceOnlyAPI):
    """A categorical policy as an RLModule; the learner's also has the critic."""

    def setup(self) -> None:
        """Build the networks that the options describe."""
        options = self.model_config["options"]
        obs_size = math.prod(self.observation_space.shape)
        layers = options.fcnet_hiddens, options.fcnet_activation
        self.pi = CategoricalPolicy(obs_size, int(self.action_space.n), *layers)
        self.vf = ValueNetwork(obs_size, *layers)

    def get_non_inference_attributes(self) -> list[str]:
        """Return the networks that env runners do not need."""
        return ["vf"]

    def _forward_inference(self, batch: dict[str, Tensor], **kwargs: Any) -> dict[str, Tensor]:
        """Return the likeliest actions [N]."""
        return {Columns.ACTIONS: self.pi.greedy(batch[Columns.OBS])}

    def _forward_exploration(
        self, batch: dict[str, Tensor], generator: torch.Generator | None = None, **kwargs: Any
    ) -> dict[str, Tensor]:
        """Return actions drawn from the policy [N]."""
        return {Columns.ACTIONS: self.pi.sample(batch[Columns.OBS], generator)}

    def _forward_train(self, batch: dict[str, Tensor], **kwargs: Any) -> dict[str, Tensor]:
        """Return log pi(a|s), V(s) and V(s'); [B] each."""
        log_prob_B, _ = self.pi.log_probs_and_entropies(batch[Columns.OBS], batch[Columns.ACTIONS])
        next_value_B = self.vf(batch[Columns.NEXT_OBS])
        return {"log_prob": log_prob_B, "value": self.vf(batch[Columns.OBS]), "next_value": next_value_B}


class ToyLearner(RolloutLearner):
    """Does the updates."""

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Register Adam for both networks."""
        self.add_adam(self.get_parameters(self.module[module_id]), self.options.lr)

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Tensor], fwd_out: dict[str, Tensor]
    ) -> Tensor:
        """Return the loss of one minibatch, a scalar."""
        discount_B = self.options.gamma * (~batch[Columns.TERMINATEDS]).float()
        error_B = td_errors(batch[Columns.REWARDS], discount_B, fwd_out["value"], fwd_out["next_value"])
        return actor_critic_loss(fwd_out["log_prob"], error_B, self.options.vf_loss_coeff)

    def learn_from(self, batches: list[RolloutBatch], env_steps: int) -> dict[str, float]:
        """Do one update with all rollouts; return total_loss."""
        parts = [batch.transitions() for batch in batches if batch.valid.any()]
        if not parts:
            return {}
        batch = {
            name: torch.from_numpy(np.concatenate([part[name] for part in parts])).to(self._device)
            for name in parts[0]
        }
        loss = self.compute_loss_for_module(
            module_id=DEFAULT_MODULE_ID,
            config=self.config,
            batch=batch,
            fwd_out=self.policy_module._forward_train(batch),
        )
        optimizer = self.get_optimizer(DEFAULT_MODULE_ID)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(self.policy_module.parameters()), self.options.grad_clip)
        check_finite(loss.detach().reshape(1, 1), ("total_loss",), self._num_updates + 1)
        optimizer.step()
        self._num_updates += 1
        return {"total_loss": loss.item()}
