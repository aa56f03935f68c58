"""Every hyperparameter of REINFORCE, under RLlib's names where it has one. No torch and no Ray here."""

from dataclasses import dataclass
from typing import Literal, get_args

from algorithms.checks import Checks
from algorithms.rl.options import Activation, RLOptions
from algorithms.schedules import Schedule

Estimator = Literal["total_return", "reward_to_go"]
Baseline = Literal["none", "running_mean", "value"]


@dataclass(frozen=True)
class REINFORCEOptions(RLOptions):
    """Hyperparameters of one REINFORCE.

    Raises ValueError, naming field and value, for values out of range or that exclude each other.
    """

    estimator: Estimator = "reward_to_go"
    """Weight of an action: all rewards of its episode, or those that came after it."""
    discount_from_start: bool = False
    """Also weight a step of age t with gamma**t, as the gradient of the return from the start does."""
    baseline: Baseline = "value"
    """What is subtracted from returns: nothing, the mean return so far, or a value network's estimate."""
    normalize_advantages: bool = False
    """Scale a batch's weights to mean 0 and standard deviation 1; this biases the gradient a little."""
    bootstrap_truncated: bool = False
    """Add the value network's estimate where a time limit cut an episode; else the episode ends there."""
    num_episodes_per_train_batch: int = 16
    """Whole episodes per update, at least."""
    train_batch_size_per_learner: int = 0
    """Environment steps per update, at least; the loss is divided by them. 0 asks for episodes alone."""
    lr: Schedule = 5e-3
    """Adam's step size for the policy: a number, or a schedule over steps such as 0:0.01,50000:0.001."""
    entropy_coeff: Schedule = 0.0
    """Weight of the entropy bonus: a number, or a schedule over environment steps."""
    vf_lr: Schedule = 1e-2
    """Adam's step size for the value network: a number, or a schedule over environment steps."""
    num_vf_updates: int = 8
    """Updates of the value network per batch, each on the whole batch."""
    running_mean_decay: float = 0.9
    """Share of itself that the running mean keeps at every batch."""
    fcnet_hiddens: tuple[int, ...] = (32,)
    """Units of the hidden layers, of the policy's network and of the value network."""
    fcnet_activation: Activation = "tanh"
    initial_log_std: float = 0.0
    """Initial log standard deviation of a Gaussian policy, whose actions range from -1 to 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_step_size("vf_lr")
        checks = Checks(self).schedule("entropy_coeff", least=0)
        checks.switch("discount_from_start", "normalize_advantages", "bootstrap_truncated")
        checks.number("running_mean_decay", least=0, below=1).number("initial_log_std", least=-20, most=2)
        checks.whole("num_episodes_per_train_batch", "num_vf_updates", least=1)
        checks.whole("train_batch_size_per_learner", least=0)
        checks.one_of("estimator", get_args(Estimator)).one_of("baseline", get_args(Baseline))
        from_start = self.discount_from_start and self.estimator == "total_return"
        rule = "False with estimator total_return, whose discount always counts from the start"
        checks.that(not from_start, "discount_from_start", rule)
        bootstraps = self.baseline == "value" and self.estimator == "reward_to_go"
        rule = "False unless baseline is value and estimator is reward_to_go"
        checks.that(bootstraps or not self.bootstrap_truncated, "bootstrap_truncated", rule)


PRESETS = {
    "CartPole-v1": REINFORCEOptions(
        gamma=0.998,
        normalize_advantages=True,
        num_episodes_per_train_batch=8,
        lr=((0, 0.015), (20_000, 0.015), (60_000, 0.001)),
        vf_lr=0.015,
        num_vf_updates=4,
        num_envs_per_env_runner=8,
    ),
    "Acrobot-v1": REINFORCEOptions(
        normalize_advantages=True,
        bootstrap_truncated=True,
        lr=((0, 0.016), (60_000, 0.016), (150_000, 0.001)),
        entropy_coeff=0.01,
        vf_lr=0.02,
        num_vf_updates=4,
        fcnet_hiddens=(64,),
    ),
    "Pendulum-v1": REINFORCEOptions(
        gamma=0.9,
        normalize_advantages=True,
        bootstrap_truncated=True,
        lr=((0, 0.01), (300_000, 0.01), (700_000, 0.001)),
        vf_lr=0.02,
        num_vf_updates=20,
        fcnet_hiddens=(64,),
        initial_log_std=-0.5,
    ),
}
"""Settings by environment (curves: docs/results.md); others start from `REINFORCEOptions()`."""
