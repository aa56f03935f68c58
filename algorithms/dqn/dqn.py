"""DQN as an RLlib algorithm: env runners that never wait for each other feed one central learner.

    DQNConfig().environment("CartPole-v1").env_runners(num_env_runners=4).learners(num_gpus_per_learner=1).build_algo().train()

Algorithm: Mnih et al. 2015 (doi:10.1038/nature14236), with double Q-learning (van Hasselt et al. 2016, arXiv:1509.06461). The interface is
RLlib's; what is ours is the way from the environment to the gradient (../rollouts, learner.py)."""

from __future__ import annotations

from typing import Any

from ray.rllib.utils.metrics import ALL_MODULES, LEARNER_RESULTS, NUM_ENV_STEPS_TRAINED_LIFETIME

from algorithms.dqn.learner import DQNLearner, QModule
from algorithms.dqn.options import DQNOptions
from algorithms.dqn.policy import Description
from algorithms.rl import vector_envs
from algorithms.rl.algorithm import RolloutAlgorithm, RolloutConfig
from algorithms.rl.learner import Learned, learn
from algorithms.schedules import value_at


class DQNConfig(RolloutConfig):
    """RLlib's configuration with the fields of `DQNOptions`. `build_algo()` raises ValueError, naming the value, for whatever is wrong."""

    options_class = DQNOptions
    module_class = QModule
    learner_class_ = DQNLearner
    model_options = ("fcnet_hiddens", "fcnet_activation", "epsilon", "double_q")
    only = RolloutConfig.only | {
        "n_step": 1, "dueling": False, "num_atoms": 1, "noisy": False, "burn_in_len": 0, "before_learn_on_batch": None,
    }  # fmt: skip

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or DQN)
        self.synchronous = False
        self.store_buffer_in_checkpoints = True

    def training(self, **options: Any) -> DQNConfig:
        """Set hyperparameters: any field of `DQNOptions`, or of RLlib's own `training`, by name; besides

        `synchronous`: whether remote env runners wait while the learner learns: slower, and the same numbers at every run of one seed.
        `store_buffer_in_checkpoints`: whether checkpoints hold the replay (RLlib's; here True).
        `replay_buffer_config`: RLlib's dict, of which `capacity` counts; the buffer is a uniform one.

        Raises ValueError for options of RLlib's DQN that this one has not, TypeError for what nobody knows.
        """
        buffer = dict(options.pop("replay_buffer_config", {}))
        if buffer.pop("type", "EpisodeReplayBuffer") != "EpisodeReplayBuffer" or set(buffer) - {"capacity"}:
            raise ValueError(
                "replay_buffer_config must be {'capacity': …} (and 'type': 'EpisodeReplayBuffer', uniform replay), nothing else"
            )
        if buffer:
            options["replay_buffer_capacity"] = buffer["capacity"]
        for name in set(options) & {"synchronous", "store_buffer_in_checkpoints"}:
            setattr(self, name, options.pop(name))
        super().training(**options)
        return self

    def require_spaces(self, obs: Any, actions: Any) -> None:
        """Raise ValueError unless observations are vectors and actions discrete."""
        vector_envs.require_discrete_actions(self.env, actions)
        super().require_spaces(obs, actions)

    def allowed(self) -> dict[str, tuple[Any, ...]]:
        """Return the values of RLlib's settings that mean something here; others are refused."""
        return super().allowed() | {
            "batch_mode": ("truncate_episodes", "complete_episodes")
            if self.in_evaluation
            else ("truncate_episodes",),
            "explore": (False,) if self.in_evaluation else (True, False),
        }


class DQN(RolloutAlgorithm):
    """Deep Q-network on any environment of discrete actions and vector observations; see `DQNConfig`."""

    _name = "ray-training-workflows-DQN"  # Tune's name for it: RLlib's own "DQN" stays what it is

    @classmethod
    def get_default_config(cls) -> DQNConfig:
        """Return the configuration without any change."""
        return DQNConfig()

    def training_step(self) -> None:
        """Collect, learn, broadcast; RLlib calls it until `min_sample_timesteps_per_iteration` steps have come.

            env runners    [ rollout k+1 ][ rollout k+2 ][ ...      two requests each are under way: nobody waits for the driver
                                  |  reference
            driver         collect ──> learn ──────────> broadcast  (waits for whoever is slower; the shares are reported)
                                         |  references      \
            learner                [ add | update x n ]     new weights, put into the store once, go with the next requests
        """
        self._sums.begin_step(self.iteration)
        rollouts = self._collector.collect()
        learned: Learned = self._on_learner(learn, rollouts=rollouts, env_steps=self._collector.env_steps)
        if learned.weights is not None:
            self._collector.broadcast(learned.weights, learned.weights_version)
        self._log(rollouts, learned)
        self._log_ratio(learned)

    def _log_ratio(self, learned: Learned) -> None:
        """Log how much was trained for what was sampled, and the exploration."""
        batch_size = self.config.train_batch_size_per_learner
        key = (LEARNER_RESULTS, ALL_MODULES, NUM_ENV_STEPS_TRAINED_LIFETIME)
        self.metrics.log_value(key, learned.num_updates * batch_size, reduce="lifetime_sum")
        self.metrics.log_value(
            "trained_per_sampled", self._sums.per("updates", "env_steps") * batch_size, reduce="item"
        )
        self.metrics.log_value(
            "epsilon", value_at(self.config.options.epsilon, self._collector.env_steps), reduce="item"
        )

    def policy_description(self, module: QModule, **common: Any) -> Description:
        """Return what `policy.json` holds."""
        return Description(num_actions=int(module.action_space.n), **common)
