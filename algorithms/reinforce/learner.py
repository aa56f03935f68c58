"""REINFORCE's central learner: one gradient step per batch of whole episodes. An RLlib TorchLearner.

    learn(rollouts):  episodes --> returns - baseline --> loss --> one step of Adam --> new weights
    fit_baseline():   the baseline learns those returns, while the env runners play with the new weights

The baseline is fitted after its use. Fitted before, it would depend on the batch's actions."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor

from algorithms.divergence import check_finite
from algorithms.reinforce import losses
from algorithms.rl.learner import RolloutLearner
from algorithms.rl.networks import CategoricalPolicy, GaussianPolicy, ValueNetwork
from algorithms.rl.policy_files import action_sizes
from algorithms.rl.rollout_batch import RolloutBatch
from algorithms.schedules import value_at

VF_OPTIMIZER = "vf"


class PolicyModule(TorchRLModule, InferenceOnlyAPI):
    """Categorical or Gaussian policy as an RLModule; the learner's also has the baseline's value network."""

    def setup(self) -> None:
        """Build the networks that the options describe."""
        options = self.options = self.model_config["options"]
        num_actions, action_size = action_sizes(self.action_space)
        obs_size = math.prod(self.observation_space.shape)
        layers = options.fcnet_hiddens, options.fcnet_activation
        self.pi: CategoricalPolicy | GaussianPolicy
        if num_actions is not None:
            self.pi = CategoricalPolicy(obs_size, num_actions, *layers)
        else:
            assert action_size is not None
            self.pi = GaussianPolicy(obs_size, action_size, *layers, options.initial_log_std)
        if options.baseline == "value":
            self.vf = ValueNetwork(obs_size, *layers)

    def get_non_inference_attributes(self) -> list[str]:
        """Return the networks that env runners do not need."""
        return ["vf"] if self.options.baseline == "value" else []

    def _forward_inference(self, batch: dict[str, Tensor], **kwargs: Any) -> dict[str, Tensor]:
        """Return the likeliest actions [N] or [N, A]."""
        return {Columns.ACTIONS: self.pi.greedy(batch[Columns.OBS])}

    def _forward_exploration(
        self, batch: dict[str, Tensor], generator: torch.Generator | None = None, **kwargs: Any
    ) -> dict[str, Tensor]:
        """Return actions drawn from the policy [N] or [N, A]."""
        return {Columns.ACTIONS: self.pi.sample(batch[Columns.OBS], generator)}

    def _forward_train(self, batch: dict[str, Tensor], **kwargs: Any) -> dict[str, Tensor]:
        """Return log pi(a|s) [B] and the policy's entropies [B]."""
        log_probs, entropies = self.pi.log_probs_and_entropies(batch[Columns.OBS], batch[Columns.ACTIONS])
        return {Columns.ACTION_LOGP: log_probs, "entropy": entropies}


class REINFORCELearner(RolloutLearner):
    """Estimates the gradient from whole episodes, and does the step."""

    needs_every_rollout = True  # half a batch would be biased; the algorithm plays it again

    def build(self) -> None:
        """Build networks and optimizers on the learner's device."""
        super().build()
        self._running_mean: float | None = None
        self._batch: dict[str, Tensor] | None = None
        self._env_steps = 0

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Register Adam for the policy, and another for the value network."""
        module = self.module[module_id]
        self.add_adam(module.pi.parameters(), self.options.lr)
        if self.options.baseline == "value":
            self.add_adam(module.vf.parameters(), self.options.vf_lr, VF_OPTIMIZER)

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Tensor], fwd_out: dict[str, Tensor]
    ) -> Tensor:
        """Return the loss of a batch with `advantages`, a scalar; see losses.py. A subclass may change it."""
        asked = self.options.train_batch_size_per_learner or self.options.num_episodes_per_train_batch
        loss = losses.policy_loss(fwd_out[Columns.ACTION_LOGP], batch[Columns.ADVANTAGES], asked)
        coeff = value_at(self.options.entropy_coeff, self._env_steps)
        return loss - coeff * losses.entropy_bonus(fwd_out["entropy"], asked) if coeff else loss

    def learn_from(self, batches: list[RolloutBatch], env_steps: int) -> dict[str, float]:
        """Do one update; return total_loss, entropy, grad_norm, vf_explained_var and the num_episodes."""
        self._env_steps = env_steps
        for rollout in batches:
            assert rollout.weights_version == self._weights_seq_no, "a step was made with other weights"
        episodes = [rollout.whole_episodes() for rollout in batches if rollout.env_steps()]
        if not episodes:
            self._batch = None
            return {"num_episodes": 0.0}
        batch = self._batch = {
            name: torch.from_numpy(np.concatenate([part[name] for part in episodes])).to(self._device)
            for name in episodes[0]
        }
        self._add_advantages(batch)
        return self._update(batch) | {"num_episodes": float(len(batch["truncated"]))}

    @torch.no_grad()
    def _add_advantages(self, batch: dict[str, Tensor]) -> None:
        """Add `returns` [B], `baseline` [B] and `advantages` [B] to whole episodes."""
        options, module = self.options, self.policy_module
        rewards, ends = batch["rewards"], batch["ends"]
        if options.bootstrap_truncated:
            rewards = losses.bootstrapped(
                rewards, ends, batch["truncated"], module.vf(batch["last_obs"]), options.gamma
            )
        returns_of = losses.total_returns if options.estimator == "total_return" else losses.rewards_to_go
        returns = batch["returns"] = returns_of(rewards, ends, options.gamma)
        if options.baseline == "value":
            batch["baseline"] = module.vf(batch["obs"])
        else:
            batch["baseline"] = torch.full_like(returns, self._running_mean or 0.0)
        advantages = returns - batch["baseline"]
        if options.discount_from_start:
            advantages = advantages * options.gamma ** losses.ages(ends)
        batch["advantages"] = losses.normalized(advantages) if options.normalize_advantages else advantages

    def _update(self, batch: dict[str, Tensor]) -> dict[str, float]:
        """Update the policy; return the metrics."""
        module, module_id = self.policy_module, DEFAULT_MODULE_ID
        module.train()
        fwd_out = module._forward_train(batch)
        loss = self.compute_loss_for_module(
            module_id=module_id, config=self.config, batch=batch, fwd_out=fwd_out
        )
        optimizer = self.get_optimizer(module_id)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        grad_norm = torch.nn.utils.clip_grad_norm_(list(module.pi.parameters()), self.options.grad_clip)
        errors = batch["returns"] - batch["baseline"]
        explained = 1 - errors.var(correction=0) / batch["returns"].var(correction=0).clamp(min=1e-12)
        metrics = torch.stack([loss.detach(), grad_norm, fwd_out["entropy"].detach().mean(), explained])
        names = ("total_loss", "grad_norm", "entropy", "vf_explained_var")
        check_finite(metrics[None, :2], names, self._num_updates + 1)
        optimizer.step()
        self._num_updates += 1
        return dict(zip(names, metrics.tolist(), strict=True))

    def fit_baseline(self) -> tuple[dict[str, float], float]:
        """Fit the baseline to the returns of the last batch; return its metrics and the seconds it took."""
        began = time.perf_counter()
        batch, self._batch = self._batch, None
        metrics: dict[str, float] = {}
        if batch is not None and self.options.baseline == "running_mean":
            metrics = self._fit_running_mean(batch["returns"])
        elif batch is not None and self.options.baseline == "value":
            metrics = self._fit_value_network(batch)
        return metrics, time.perf_counter() - began

    def _fit_running_mean(self, returns: Tensor) -> dict[str, float]:
        mean, keep = returns.mean().item(), self.options.running_mean_decay
        if self._running_mean is not None:
            mean = keep * self._running_mean + (1 - keep) * mean
        self._running_mean = mean
        return {"running_mean": mean}

    def _fit_value_network(self, batch: dict[str, Tensor]) -> dict[str, float]:
        vf, optimizer = self.policy_module.vf, self.get_optimizer(DEFAULT_MODULE_ID, VF_OPTIMIZER)
        for _ in range(self.options.num_vf_updates):
            loss = losses.value_loss(vf(batch["obs"]), batch["returns"])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        check_finite(loss.detach().reshape(1, 1), ("vf_loss",), self._num_updates)
        return {"vf_loss": loss.item()}

    # Checkpoints

    def progress(self) -> dict[str, Any]:
        """Return the counters and the running mean."""
        return super().progress() | {"running_mean": self._running_mean}

    def set_progress(self, progress: dict[str, Any]) -> None:
        """Restore the counters and the running mean."""
        super().set_progress(progress)
        self._running_mean, self._batch = progress["running_mean"], None


def fit_baseline(learner: REINFORCELearner) -> tuple[dict[str, float], float]:
    """Call `fit_baseline` where the learner is."""
    return learner.fit_baseline()
