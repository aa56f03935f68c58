"""The toy as an RLlib algorithm."""

from __future__ import annotations

from typing import Any

from algorithms.rl import vector_envs
from algorithms.rl.algorithm import RolloutAlgorithm
from algorithms.rl.config import RolloutConfig
from algorithms.rl.learner import LearnResult, learn
from algorithms.rl.runner_pool import RunnerPool
from algorithms.rl.samplers import StreamSampler
from toy_rl.learner import ToyLearner, ToyModule
from toy_rl.options import ToyOptions


class ToyConfig(RolloutConfig):
    """RLlib's configuration with the fields of `ToyOptions`."""

    options_class = ToyOptions
    module_class = ToyModule
    rollout_learner_class = ToyLearner

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or Toy)

    def make_sampler(self, pool: RunnerPool) -> StreamSampler:
        """Return a stream of fragments; remote runners wait while the learner learns."""
        return StreamSampler(pool, synchronous=True)

    def require_spaces(self, obs: Any, actions: Any) -> None:
        """Raise ValueError unless observations are vectors and actions are discrete."""
        vector_envs.require_discrete_actions(self.env, actions)
        super().require_spaces(obs, actions)

    def supported_settings(self) -> dict[str, tuple[Any, ...]]:
        """Return the supported values of those RLlib settings that support only some; others are refused."""
        settings = super().supported_settings()
        return settings if self.in_evaluation else settings | {"explore": (True,)}


class Toy(RolloutAlgorithm):
    """One-step actor-critic for discrete actions and vector observations; see `ToyConfig`."""

    _name = "toy-actor-critic"

    @classmethod
    def get_default_config(cls) -> ToyConfig:
        """Return the default configuration."""
        return ToyConfig()

    def training_step(self) -> None:
        """Collect, learn, broadcast, ask.

        env runners    [ rollout k ]                       [ rollout k+1 ]
                            | references                   ^
        driver         collect ──> learn ──> broadcast, ask
        """
        self._totals.begin_step(self.iteration)
        rollouts = self._sampler.collect()
        self._stats.count(rollouts)
        learned: LearnResult = self._on_learner(learn, rollouts=rollouts, env_steps=self._stats.env_steps)
        if learned.weights is not None:
            self._pool.broadcast(learned.weights, learned.weights_version)
        self._sampler.ask()
        self._log(rollouts, learned)
