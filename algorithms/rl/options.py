"""The hyperparameters that every RL algorithm has, under RLlib's names. No torch and no Ray here."""

from dataclasses import dataclass
from typing import Literal, get_args

from algorithms.checks import Checks
from algorithms.schedules import Schedule, values

Activation = Literal["relu", "tanh", "silu"]


@dataclass(frozen=True)
class RLOptions:
    """Hyperparameters of any RL algorithm. An algorithm's own options inherit these.

    Raises ValueError, naming field and value, for values out of range.
    """

    gamma: float = 0.99
    """Discount of the future, per step."""
    lr: Schedule = 1e-3
    """Adam's step size: a number, or a schedule over environment steps such as 0:0.002,50000:0.0005."""
    adam_epsilon: float = 1e-8
    """Adam's epsilon."""
    grad_clip: float = float("inf")
    """Largest global norm of an update's gradient; inf clips nothing."""
    train_batch_size_per_learner: int = 64
    """Environment steps per update."""
    fcnet_hiddens: tuple[int, ...] = (64, 64)
    """Units of the hidden layers."""
    fcnet_activation: Activation = "relu"
    """Nonlinearity between layers."""
    num_envs_per_env_runner: int = 16
    """Environments that an env runner steps together."""
    max_episode_steps: int = 100_000
    """Longest whole episode, in steps; a longer one is an error. Checked every 16 steps."""

    def __post_init__(self) -> None:
        checks = Checks(self).number("gamma", least=0, most=1).number("adam_epsilon", above=0)
        checks.number("grad_clip", above=0, infinite=True)
        self._check_step_size("lr")
        checks.sizes("fcnet_hiddens").one_of("fcnet_activation", get_args(Activation))
        checks.whole("num_envs_per_env_runner", "max_episode_steps", least=1)

    def _check_step_size(self, name: str) -> None:
        """Check that a field is a schedule of step sizes that is positive somewhere."""
        checks = Checks(self).schedule(name, least=0)
        checks.that(max(values(getattr(self, name))) > 0, name, "positive somewhere")
