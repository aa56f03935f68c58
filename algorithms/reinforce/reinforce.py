"""REINFORCE as an RLlib algorithm: env runners play whole episodes, one central learner updates the weights.

    config = REINFORCEConfig().environment("CartPole-v1").env_runners(num_env_runners=4)
    config.learners(num_gpus_per_learner=1).build_algo().train()

Williams 1992 (doi:10.1007/BF00992696), with rewards to go and a baseline (Sutton and Barto 2018, chapter 13).
The interface is RLlib's. The way from the environment to the gradient is ours (../rl, learner.py)."""

from __future__ import annotations

from typing import Any

import numpy as np
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.utils.typing import StateDict

from algorithms.reinforce.learner import PolicyModule, REINFORCELearner, fit_baseline
from algorithms.reinforce.options import REINFORCEOptions
from algorithms.rl import vector_envs
from algorithms.rl.algorithm import RolloutAlgorithm
from algorithms.rl.config import RolloutConfig
from algorithms.rl.learner import LearnResult, learn
from algorithms.rl.rollout_batch import RolloutResult
from algorithms.rl.runner_pool import RunnerPool
from algorithms.rl.samplers import BatchSampler
from algorithms.rl.stepper import EnvironmentFailed
from algorithms.rl.whole_episodes import EpisodeRequest, split_evenly

BATCH_SPAWN_KEY = 3
"""Spawn key of the batches' random numbers. Env runners have 0 and 1, see `RolloutConfig.seed_sequence`."""

BATCHES = "batches"
"""Component of the algorithm's state: the number of batches, and the entropy of their random numbers."""

MAX_EMPTY_BATCHES = 10
"""Empty batches in a row that end the training."""

RLLIBS_FRAGMENT = AlgorithmConfig().rollout_fragment_length
"""RLlib's default. No other value is supported: a batch has whole episodes."""


class REINFORCEConfig(RolloutConfig):
    """RLlib's configuration with the fields of `REINFORCEOptions`; `build_algo()` checks all values."""

    options_class = REINFORCEOptions
    module_class = PolicyModule
    rollout_learner_class = REINFORCELearner

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or REINFORCE)
        self.batch_mode = "complete_episodes"
        self.sample_timeout_s = (
            600.0  # whole episodes take longer than a few steps; then a runner counts as hung
        )

    def make_sampler(self, pool: RunnerPool) -> BatchSampler:
        """Return batches of whole episodes."""
        return BatchSampler(pool)

    def require_spaces(self, obs: Any, actions: Any) -> None:
        """Raise ValueError unless observations are vectors, and actions discrete or vectors."""
        vector_envs.require_discrete_or_box_actions(self.env, actions)
        super().require_spaces(obs, actions)

    def supported_settings(self) -> dict[str, tuple[Any, ...]]:
        """Return the supported values of those RLlib settings that support only some; others are refused."""
        settings = super().supported_settings() | {"normalize_actions": (True,), "clip_actions": (False,)}
        if self.in_evaluation:
            return settings
        return settings | {
            "batch_mode": ("complete_episodes",),
            "explore": (True,),
            "rollout_fragment_length": ("auto", RLLIBS_FRAGMENT),
        }

    def requests(self, batch: int, entropy: int) -> list[EpisodeRequest]:
        """Return the requests that make up a batch, one per runner; fixed before an episode is played."""
        num_runners = max(1, self.num_env_runners)
        num_env_steps = -(-self.options.train_batch_size_per_learner // num_runners)
        episodes = split_evenly(self.options.num_episodes_per_train_batch, num_runners)
        return [
            EpisodeRequest(num_episodes, num_env_steps, (BATCH_SPAWN_KEY, batch, i), entropy)
            for i, num_episodes in enumerate(episodes)
            if num_episodes or num_env_steps
        ]


class REINFORCE(RolloutAlgorithm):
    """REINFORCE for vector observations, and actions that are discrete or vectors; see `REINFORCEConfig`."""

    _name = "ray-training-workflows-REINFORCE"

    @classmethod
    def get_default_config(cls) -> REINFORCEConfig:
        """Return the default configuration."""
        return REINFORCEConfig()

    def setup(self, config: REINFORCEConfig) -> None:
        """Start env runners and learner.

        Raises ValueError before that if the environment can't be made or does not suit the algorithm.
        """
        super().setup(config)
        self._num_batches = self._num_empty_batches = 0
        self._entropy = np.random.SeedSequence(
            self.config.seed
        ).entropy  # the operating system's if there is no seed

    def training_step(self) -> None:
        """Collect, learn, broadcast, ask, fit; repeated for `min_sample_timesteps_per_iteration` steps.

            env runners    [ episodes of batch k ]                    [ episodes of batch k+1 ...
                                   |  references                      |
            driver         collect ──> learn ───> broadcast, ask ────>|──> fit_baseline
                                         |  references     \\                    |
            learner                [ one update ]     new weights         [ n updates of the value network ]

        On-policy: all episodes of a batch are played with the weights that it updates.
        """
        self._totals.begin_step(self.iteration)
        rollouts, learned = self._collect_and_learn()
        self._stats.count(rollouts)
        self._num_batches += 1
        if learned.weights is not None:
            self._pool.broadcast(learned.weights, learned.weights_version)
        self._sampler.ask(self._requests())
        metrics, fit_s = self._on_learner(fit_baseline)
        learned.metrics |= metrics
        learned.learn_s += fit_s
        self._log(rollouts, learned)
        self._require_episodes(learned.num_updates)

    def _requests(self) -> list[EpisodeRequest]:
        requests: list[EpisodeRequest] = self.config.requests(self._num_batches, self._entropy)
        return requests

    def _collect_and_learn(self) -> tuple[list[RolloutResult], LearnResult]:
        """Have a batch played and the policy updated; play it again if a rollout is lost in between."""
        while True:
            rollouts = self._sampler.collect(self._requests())
            env_steps = self._stats.env_steps + sum(rollout.num_env_steps for rollout in rollouts)
            learned: LearnResult = self._on_learner(learn, rollouts=rollouts, env_steps=env_steps)
            if not learned.num_rollouts_lost:
                return rollouts, learned
            self._stats.faults["num_rollouts_lost"] += learned.num_rollouts_lost

    def _require_episodes(self, num_updates: int) -> None:
        """Raise EnvironmentFailed if batch after batch has no episode to learn from."""
        self._num_empty_batches = 0 if num_updates else self._num_empty_batches + 1
        if self._num_empty_batches >= MAX_EMPTY_BATCHES:
            raise EnvironmentFailed(
                f"env {self.config.env!r}: in each of the last {MAX_EMPTY_BATCHES} batches, "
                "every episode had a step that failed, or one with NaN or infinity"
            )

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> StateDict:
        """Return the state, and what the random numbers of the next batch depend on."""
        state = super().get_state(components, not_components=not_components, **kwargs)
        if self._check_component(BATCHES, components, not_components):
            state[BATCHES] = {"num_batches": self._num_batches, "entropy": self._entropy}
        return state

    def set_state(self, state: StateDict) -> None:
        """Go on from `state`."""
        super().set_state(state)
        if BATCHES in state:
            self._num_batches, self._entropy = state[BATCHES]["num_batches"], state[BATCHES]["entropy"]
