"""Every hyperparameter of DQN, under RLlib's names. No torch and no Ray here: `--help` stays instant."""

from dataclasses import dataclass
from typing import Literal, get_args

from algorithms.checks import Checks
from algorithms.rl.options import RLOptions
from algorithms.schedules import Schedule

LossFunction = Literal["huber", "mse"]


@dataclass(frozen=True)
class DQNOptions(RLOptions):
    """Hyperparameters of one DQN.

    Raises ValueError, naming field and value, for values out of range or that exclude each other.
    """

    grad_clip: float = 10.0
    train_batch_size_per_learner: int = 64
    """Transitions per update."""
    training_intensity: float = 8.0
    """Transitions trained on per environment step. It sets the updates: intensity / batch size per step."""
    double_q: bool = True
    """Whether the online network picks the action whose target value counts (van Hasselt+ 2016)."""
    td_error_loss_fn: LossFunction = "huber"
    """Loss of the temporal-difference error."""
    target_network_update_freq: int = 1
    """Environment steps between updates of the target network."""
    tau: float = 0.02
    """Share of the online network in the target network's update; 1 copies it."""
    epsilon: Schedule = ((0, 1.0), (10_000, 0.05))
    """Share of random actions: a number, or a schedule over environment steps."""
    replay_buffer_capacity: int = 50_000
    """Transitions kept; new ones replace the oldest."""
    num_steps_sampled_before_learning_starts: int = 1000
    """Transitions gathered before the first update."""
    rollout_fragment_length: int = 8
    """Steps of each environment per request to a runner."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks = Checks(self).schedule("epsilon", least=0, most=1).switch("double_q")
        checks.number("tau", above=0, most=1).number("training_intensity", above=0)
        checks.whole("train_batch_size_per_learner", "target_network_update_freq", least=1)
        checks.whole("num_steps_sampled_before_learning_starts", "rollout_fragment_length", least=1)
        checks.whole("replay_buffer_capacity", least=1)
        checks.one_of("td_error_loss_fn", get_args(LossFunction))
        start = self.num_steps_sampled_before_learning_starts
        rule = f"at least num_steps_sampled_before_learning_starts ({start})"
        checks.that(self.replay_buffer_capacity >= start, "replay_buffer_capacity", rule)

    @property
    def updates_per_target_update(self) -> int:
        """Updates between target updates: `target_network_update_freq`, converted from steps to updates."""
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
"""Settings by environment (curves: docs/results.md); other environments start from `DQNOptions()`."""
