"""Every hyperparameter of the toy, under RLlib's names. No torch and no Ray here: `--help` stays instant."""

from dataclasses import dataclass

from algorithms.checks import Checks
from algorithms.rl.options import RLOptions


@dataclass(frozen=True)
class ToyOptions(RLOptions):
    """Hyperparameters of one toy. Raises ValueError, naming field and value, for values out of range."""

    fcnet_hiddens: tuple[int, ...] = ()
    """Units of the hidden layers; none is a linear network."""
    vf_loss_coeff: float = 0.5
    """Weight of the critic's loss."""
    rollout_fragment_length: int = 8
    """Steps of each environment per request to a runner."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks = Checks(self).number("vf_loss_coeff", above=0)
        checks.whole("train_batch_size_per_learner", "rollout_fragment_length", least=1)


PRESETS = {"CartPole-v1": ToyOptions(lr=5e-3, num_envs_per_env_runner=8)}
"""Settings by environment."""
