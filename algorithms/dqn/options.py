"""Every hyperparameter of DQN, under RLlib's names. No torch and no Ray here, so that `--help` stays instant."""

from dataclasses import dataclass
from typing import Literal, get_args

from algorithms.checks import (
    require,
    require_number,
    require_schedule,
    require_sizes,
    require_switch,
    require_whole,
)
from algorithms.schedules import Schedule, values

Activation = Literal["relu", "tanh", "silu"]
LossFunction = Literal["huber", "mse"]


@dataclass(frozen=True)
class DQNOptions:
    """Hyperparameters of one DQN. Raises ValueError, naming the value, when one is out of its range or two exclude each other."""

    gamma: float = 0.99
    """Discount of the future, per step."""
    lr: Schedule = 1e-3
    """Adam's step size: a number, or a schedule over environment steps such as 0:0.002,50000:0.0005."""
    adam_epsilon: float = 1e-8
    """Adam's epsilon."""
    grad_clip: float = 10.0
    """Largest norm of an update's gradient (`grad_clip_by` is global_norm); inf clips nothing."""
    train_batch_size_per_learner: int = 64
    """Transitions per update."""
    training_intensity: float = 8.0
    """Transitions trained on per environment step; updates are this over the batch size, per step."""
    double_q: bool = True
    """Whether the online network picks the action whose target value counts (van Hasselt et al. 2016)."""
    td_error_loss_fn: LossFunction = "huber"
    """Loss of the temporal-difference error."""
    target_network_update_freq: int = 1
    """Environment steps between updates of the target network."""
    tau: float = 0.02
    """Share of the online network in the target network's update; 1 copies it."""
    epsilon: Schedule = ((0, 1.0), (10_000, 0.05))
    """Share of random actions: a number, or a schedule over environment steps."""
    replay_buffer_capacity: int = 50_000
    """Transitions kept; the oldest give way."""
    num_steps_sampled_before_learning_starts: int = 1000
    """Transitions gathered before the first update."""
    fcnet_hiddens: tuple[int, ...] = (64, 64)
    """Units of the network's hidden layers."""
    fcnet_activation: Activation = "relu"
    """Nonlinearity between its layers."""
    num_envs_per_env_runner: int = 16
    """Environments that an env runner steps together."""
    rollout_fragment_length: int = 8
    """Steps of each of them per request to a runner."""
    max_episode_steps: int = 100_000
    """Steps after which an evaluation's episode that goes on counts as one that never ends, an error; looked at every 16 steps."""

    def __post_init__(self) -> None:
        require_schedule(self, "lr", "must be at least 0", lambda value: value >= 0)
        require(max(values(self.lr)) > 0, "lr", "must be positive somewhere", self.lr)
        require_schedule(self, "epsilon", "must be from 0 to 1", lambda value: 0 <= value <= 1)
        require_sizes(self, "fcnet_hiddens")
        require_switch(self, "double_q")
        for name, rule, holds in (
            ("gamma", "must be from 0 to 1", lambda value: 0 <= value <= 1),
            ("adam_epsilon", "must be a positive number", lambda value: 0 < value < float("inf")),
            ("grad_clip", "must be a positive number, or inf", lambda value: value > 0),
            ("tau", "must be above 0 and at most 1", lambda value: 0 < value <= 1),
            ("training_intensity", "must be a positive number", lambda value: 0 < value < float("inf")),
        ):
            require_number(self, name, rule, holds)
        require_whole(
            self,
            "train_batch_size_per_learner",
            "target_network_update_freq",
            "num_steps_sampled_before_learning_starts",
            "num_envs_per_env_runner",
            "rollout_fragment_length",
            "replay_buffer_capacity",
            "max_episode_steps",
        )
        for name, choices in (("td_error_loss_fn", LossFunction), ("fcnet_activation", Activation)):
            require(
                getattr(self, name) in get_args(choices),
                name,
                f"must be one of {', '.join(get_args(choices))}",
                getattr(self, name),
            )
        require(
            self.replay_buffer_capacity >= self.num_steps_sampled_before_learning_starts,
            "replay_buffer_capacity",
            f"must be at least num_steps_sampled_before_learning_starts ({self.num_steps_sampled_before_learning_starts})",
            self.replay_buffer_capacity,
        )

    @property
    def updates_per_target_update(self) -> int:
        """Updates of the network between those of its target: `target_network_update_freq` in updates, at the ratio that is held."""
        updates_per_env_step = self.training_intensity / self.train_batch_size_per_learner
        return max(1, round(self.target_network_update_freq * updates_per_env_step))


PRESETS = {
    "CartPole-v1": DQNOptions(
        gamma=0.998,
        lr=((0, 3.3e-3), (12_000, 3.3e-3), (30_000, 3e-4)),
        grad_clip=float("inf"),
        train_batch_size_per_learner=128,
        training_intensity=32.0,
        tau=0.1,
        epsilon=((0, 1.0), (3000, 0.02)),
        replay_buffer_capacity=100_000,
        fcnet_hiddens=(128,),
        fcnet_activation="tanh",
        num_envs_per_env_runner=8,
        rollout_fragment_length=16,
    ),
    "Acrobot-v1": DQNOptions(
        lr=((0, 1e-3), (20_000, 1e-3), (45_000, 1e-4)),
        train_batch_size_per_learner=128,
        training_intensity=16.0,
        tau=0.05,
        fcnet_hiddens=(128,),
        fcnet_activation="tanh",
    ),
}
"""Settings by environment (curves: docs/results.md); any other starts from `DQNOptions()`."""
