"""REINFORCE as an RLlib algorithm: env runners play whole episodes with the very weights that one central learner then improves.

    REINFORCEConfig().environment("CartPole-v1").env_runners(num_env_runners=4).learners(num_gpus_per_learner=1).build_algo().train()

Algorithm: Williams 1992 (doi:10.1007/BF00992696), with rewards to go and a baseline (Sutton and Barto 2018, chapter 13). The interface is
RLlib's; what is ours is the way from the environment to the gradient (../rollouts, learner.py)."""

from __future__ import annotations

from typing import Any

import numpy as np
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.utils.typing import StateDict

from algorithms.reinforce.learner import PolicyModule, REINFORCELearner, fit_baseline
from algorithms.reinforce.options import REINFORCEOptions
from algorithms.reinforce.policy import Description, action_sizes
from algorithms.rl import vector_envs
from algorithms.rl.algorithm import RolloutAlgorithm, RolloutConfig
from algorithms.rl.env_runner import EnvironmentFailed, EpisodeBatch, Rollout
from algorithms.rl.learner import Learned, learn

BATCH_SPAWN_KEY = 3
"""Of the batches' random numbers; env runners have 0 (training) and 1 (evaluation), see `env_runner.seed_sequence`, DQN's replay has 2."""

BATCHES = "batches"
"""Component of the algorithm's state: how many batches there were, and the entropy of their random numbers."""

MOST_EMPTY_BATCHES = 10
"""In a row, before the training ends."""

RLLIBS_FRAGMENT = AlgorithmConfig().rollout_fragment_length
"""RLlib's default. No other is taken: batches are of whole episodes."""


class REINFORCEConfig(RolloutConfig):
    """RLlib's configuration with the fields of `REINFORCEOptions`. `build_algo()` raises ValueError, naming the value that is wrong."""

    options_class = REINFORCEOptions
    module_class = PolicyModule
    learner_class_ = REINFORCELearner
    model_options = ("fcnet_hiddens", "fcnet_activation", "baseline", "initial_log_std")
    whole_episodes = True

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or REINFORCE)
        self.batch_mode = "complete_episodes"
        self.sample_timeout_s = (
            600.0  # a share of a batch takes longer than a few steps; who is silent for so long is replaced
        )

    def require_spaces(self, obs: Any, actions: Any) -> None:
        """Raise ValueError unless observations are vectors, and actions discrete or vectors."""
        vector_envs.require_discrete_or_box_actions(self.env, actions)
        super().require_spaces(obs, actions)

    def allowed(self) -> dict[str, tuple[Any, ...]]:
        """Return the values of RLlib's settings that mean something here; others are refused."""
        allowed = super().allowed() | {"normalize_actions": (True,), "clip_actions": (False,)}
        if self.in_evaluation:
            return allowed
        return allowed | {
            "batch_mode": ("complete_episodes",), "explore": (True,), "rollout_fragment_length": ("auto", RLLIBS_FRAGMENT),
        }  # fmt: skip

    def shares(self, batch: int, entropy: int) -> list[EpisodeBatch]:
        """Return what the runners are asked for, together a batch: fixed before an episode is played, so that none is preferred."""
        num_runners = max(1, self.num_env_runners)
        num_episodes, num_env_steps = self.num_episodes_per_train_batch, self.train_batch_size_per_learner
        shares = [
            EpisodeBatch(
                num_episodes=num_episodes // num_runners + (i < num_episodes % num_runners),
                num_env_steps=-(-num_env_steps // num_runners),
                spawn_key=(BATCH_SPAWN_KEY, batch, i),
                entropy=entropy,
            )
            for i in range(num_runners)
        ]
        return [share for share in shares if share.num_episodes or share.num_env_steps]


class REINFORCE(RolloutAlgorithm):
    """REINFORCE on any environment of vector observations, with discrete actions or vectors of them; see `REINFORCEConfig`."""

    _name = "ray-training-workflows-REINFORCE"

    @classmethod
    def get_default_config(cls) -> REINFORCEConfig:
        """Return the configuration without any change."""
        return REINFORCEConfig()

    def setup(self, config: REINFORCEConfig) -> None:
        """Start env runners and learner. Raises ValueError for an environment that can't be made or does not suit, before any starts."""
        super().setup(config)
        self._num_batches = self._num_empty_batches = 0
        self._entropy = np.random.SeedSequence(
            self.config.seed
        ).entropy  # of the operating system, where there is no seed

    def training_step(self) -> None:
        """Collect, learn, broadcast, ask, fit; RLlib calls it until `min_sample_timesteps_per_iteration` steps have come.

            env runners    [ episodes of batch k ]                    [ episodes of batch k+1 ...
                                   |  references                      |
            driver         collect ──> learn ───> broadcast, ask ────>|──> fit_baseline
                                         |  references     \\                    |
            learner                [ one update ]     new weights         [ n updates of the value network ]

        On-policy: all episodes of a batch are played with the weights that it updates. The runners wait for that update alone.
        """
        self._sums.begin_step(self.iteration)
        rollouts, learned = self._collect_and_learn()
        self._collector.count(rollouts)
        self._num_batches += 1
        if learned.weights is not None:
            self._collector.broadcast(learned.weights, learned.weights_version)
        self._collector.ask_shares(self.config.shares(self._num_batches, self._entropy))
        metrics, fit_s = self._on_learner(fit_baseline)
        learned.metrics |= metrics
        learned.learn_s += fit_s
        self._log(rollouts, learned)
        self._require_episodes(learned.num_updates)

    def _collect_and_learn(self) -> tuple[list[Rollout], Learned]:
        """Have a batch played and the policy updated; play it again, to the same numbers, where a rollout is lost before the update."""
        while True:
            rollouts = self._collector.collect_shares(self.config.shares(self._num_batches, self._entropy))
            env_steps = self._collector.env_steps + sum(rollout.num_env_steps for rollout in rollouts)
            learned: Learned = self._on_learner(learn, rollouts=rollouts, env_steps=env_steps)
            if not learned.num_rollouts_lost:
                return rollouts, learned
            self._collector.faults["num_rollouts_lost"] += learned.num_rollouts_lost

    def _require_episodes(self, num_updates: int) -> None:
        """Raise EnvironmentFailed where batch after batch has no episode that could be learned from."""
        self._num_empty_batches = 0 if num_updates else self._num_empty_batches + 1
        if self._num_empty_batches >= MOST_EMPTY_BATCHES:
            raise EnvironmentFailed(
                f"env {self.config.env!r}: in each of the last {MOST_EMPTY_BATCHES} batches, every episode had a step that failed or a "
                "number that is none"
            )

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> StateDict:
        """Return the state, and what the random numbers of the next batch depend on."""
        state = super().get_state(components, not_components=not_components, **kwargs)
        if self._check_component(BATCHES, components, not_components):
            state[BATCHES] = {"num_batches": self._num_batches, "entropy": self._entropy}
        return state

    def set_state(self, state: StateDict) -> None:
        """Go on as `state` says."""
        super().set_state(state)
        if BATCHES in state:
            self._num_batches, self._entropy = state[BATCHES]["num_batches"], state[BATCHES]["entropy"]

    def policy_description(self, module: PolicyModule, **common: Any) -> Description:
        """Return what `policy.json` holds."""
        num_actions, action_size = action_sizes(module.action_space)
        return Description(num_actions=num_actions, action_size=action_size, **common)
