"""DQN as an RLlib algorithm: env runners that never wait for each other feed one central learner.

    config = DQNConfig().environment("CartPole-v1").env_runners(num_env_runners=4)
    config.learners(num_gpus_per_learner=1).build_algo().train()

Mnih+ 2015 (doi:10.1038/nature14236), with double Q-learning (van Hasselt+ 2016, arXiv:1509.06461).
The interface is RLlib's. The way from the environment to the gradient is ours (../rl, learner.py)."""

from __future__ import annotations

from typing import Any

from ray.rllib.utils.metrics import ALL_MODULES, LEARNER_RESULTS, NUM_ENV_STEPS_TRAINED_LIFETIME

from algorithms.dqn.learner import DQNLearner, QModule
from algorithms.dqn.options import DQNOptions
from algorithms.rl import vector_envs
from algorithms.rl.algorithm import RolloutAlgorithm
from algorithms.rl.config import RolloutConfig
from algorithms.rl.learner import LearnResult, learn
from algorithms.rl.runner_pool import RunnerPool
from algorithms.rl.samplers import StreamSampler
from algorithms.schedules import value_at


class DQNConfig(RolloutConfig):
    """RLlib's configuration with the fields of `DQNOptions`; `build_algo()` checks all values."""

    options_class = DQNOptions
    module_class = QModule
    rollout_learner_class = DQNLearner
    fixed_settings = RolloutConfig.fixed_settings | {
        "n_step": 1, "dueling": False, "num_atoms": 1, "noisy": False, "burn_in_len": 0,
        "before_learn_on_batch": None,
    }  # fmt: skip

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or DQN)
        self.synchronous = False
        self.store_buffer_in_checkpoints = True

    def make_sampler(self, pool: RunnerPool) -> StreamSampler:
        """Return a stream of fragments."""
        return StreamSampler(pool, self.synchronous)

    def training(self, **options: Any) -> DQNConfig:
        """Set hyperparameters by name: fields of `DQNOptions`, of RLlib's own `training`, or one of these.

        `synchronous`: remote runners wait while the learner learns. Slower, but repeatable for a seed.
        `store_buffer_in_checkpoints`: checkpoints hold the replay (RLlib's setting; True by default here).
        `replay_buffer_config`: RLlib's dict; only `capacity` is used. Replay is uniform.

        Raises ValueError for unsupported options of RLlib's DQN, TypeError for unknown names.
        """
        buffer = dict(options.pop("replay_buffer_config", {}))
        if buffer.pop("type", "EpisodeReplayBuffer") != "EpisodeReplayBuffer" or set(buffer) - {"capacity"}:
            raise ValueError(
                "replay_buffer_config must be {'capacity': …} for uniform replay, with or without "
                "'type': 'EpisodeReplayBuffer'; other keys are not supported"
            )
        if buffer:
            options["replay_buffer_capacity"] = buffer["capacity"]
        for name in set(options) & {"synchronous", "store_buffer_in_checkpoints"}:
            setattr(self, name, options.pop(name))
        super().training(**options)
        return self

    def require_spaces(self, obs: Any, actions: Any) -> None:
        """Raise ValueError unless observations are vectors and actions are discrete."""
        vector_envs.require_discrete_actions(self.env, actions)
        super().require_spaces(obs, actions)

    def supported_settings(self) -> dict[str, tuple[Any, ...]]:
        """Return the supported values of those RLlib settings that support only some; others are refused."""
        fragments, episodes = "truncate_episodes", "complete_episodes"
        return super().supported_settings() | {
            "batch_mode": (fragments, episodes) if self.in_evaluation else (fragments,),
            "explore": (False,) if self.in_evaluation else (True, False),
        }


class DQN(RolloutAlgorithm):
    """Deep Q-network for discrete actions and vector observations; see `DQNConfig`."""

    policy_kind = "values"
    _name = "ray-training-workflows-DQN"  # what Tune calls it: RLlib has a "DQN" of its own

    @classmethod
    def get_default_config(cls) -> DQNConfig:
        """Return the default configuration."""
        return DQNConfig()

    def training_step(self) -> None:
        """Collect, ask, learn, broadcast; repeated for `min_sample_timesteps_per_iteration` steps.

            env runners    [ rollout k+1 ][ rollout k+2 ][ ...     two requests in flight: they never wait
                                  |  reference
            driver         collect, ask ──> learn ──────> broadcast  waits for the slower side
                                             |  references    \\
            learner                    [ add | update x n ]   new weights go with the next requests
        """
        self._totals.begin_step(self.iteration)
        rollouts = self._sampler.collect()
        self._stats.count(rollouts)
        self._sampler.ask()
        learned: LearnResult = self._on_learner(learn, rollouts=rollouts, env_steps=self._stats.env_steps)
        if learned.weights is not None:
            self._pool.broadcast(learned.weights, learned.weights_version)
        self._log(rollouts, learned)
        self._log_ratio(learned)

    def _log_ratio(self, learned: LearnResult) -> None:
        """Log the steps trained, also per step sampled, and the exploration."""
        options = self.config.options
        batch_size = options.train_batch_size_per_learner
        key = (LEARNER_RESULTS, ALL_MODULES, NUM_ENV_STEPS_TRAINED_LIFETIME)
        self.metrics.log_value(key, learned.num_updates * batch_size, reduce="lifetime_sum")
        self._log_last(
            trained_per_sampled=self._totals.per("updates", "env_steps") * batch_size,
            epsilon=value_at(options.epsilon, self._stats.env_steps),
        )
