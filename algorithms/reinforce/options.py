"""Every hyperparameter of REINFORCE, under RLlib's names where it has one. No torch and no Ray here, so that `--help` stays instant."""

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
Estimator = Literal["total_return", "reward_to_go"]
Baseline = Literal["none", "running_mean", "value"]


@dataclass(frozen=True)
class REINFORCEOptions:
    """Hyperparameters of one REINFORCE. Raises ValueError, naming the value, when one is out of its range or two exclude each other."""

    gamma: float = 0.99
    """Discount of the future, per step."""
    estimator: Estimator = "reward_to_go"
    """What an action is weighted with: all rewards of its episode, or those that came after it."""
    discount_from_start: bool = False
    """Weight a step of age t with gamma**t too, as the gradient of the return from the start has it; else all steps count alike."""
    baseline: Baseline = "value"
    """What is subtracted: nothing, the mean return so far, or what a value network expects in the state."""
    normalize_advantages: bool = False
    """Scale a batch's weights to mean 0 and standard deviation 1; the gradient is then biased a little."""
    bootstrap_truncated: bool = False
    """Go on with the value network's estimate where a time limit cut the episode; else it ended there, as in the textbook."""
    num_episodes_per_train_batch: int = 16
    """Whole episodes per update, at least."""
    train_batch_size_per_learner: int = 0
    """Environment steps per update, at least, which the loss is then divided by; 0 asks for episodes alone."""
    lr: Schedule = 5e-3
    """Adam's step size for the policy: a number, or a schedule over environment steps such as 0:0.01,50000:0.001."""
    adam_epsilon: float = 1e-8
    """Adam's epsilon, for policy and value network."""
    grad_clip: float = float("inf")
    """Largest norm of the policy's gradient (`grad_clip_by` is global_norm); inf clips nothing."""
    entropy_coeff: Schedule = 0.0
    """Weight of the entropy bonus: a number, or a schedule over environment steps."""
    vf_lr: Schedule = 1e-2
    """Adam's step size for the value network: a number, or a schedule over environment steps."""
    num_vf_updates: int = 8
    """Updates of the value network per batch, each on all of it."""
    running_mean_decay: float = 0.9
    """What the running mean keeps of itself at every batch."""
    fcnet_hiddens: tuple[int, ...] = (32,)
    """Units of the hidden layers, of the policy's network and of the value network."""
    fcnet_activation: Activation = "tanh"
    """Nonlinearity between their layers."""
    initial_log_std: float = 0.0
    """Where the logarithm of a Gaussian policy's standard deviation begins; actions are from -1 to 1."""
    num_envs_per_env_runner: int = 16
    """Environments that an env runner steps together; more of them than its episodes of a batch step for nothing."""
    max_episode_steps: int = 100_000
    """Steps after which an episode that goes on counts as one that never ends, an error; looked at every 16 steps."""

    def __post_init__(self) -> None:
        for name in ("lr", "vf_lr"):
            require_schedule(self, name, "must be at least 0", lambda value: value >= 0)
            require(
                max(values(getattr(self, name))) > 0, name, "must be positive somewhere", getattr(self, name)
            )
        require_schedule(self, "entropy_coeff", "must be at least 0", lambda value: value >= 0)
        require_sizes(self, "fcnet_hiddens")
        require_switch(self, "discount_from_start", "normalize_advantages", "bootstrap_truncated")
        for name, rule, holds in (
            ("gamma", "must be from 0 to 1", lambda value: 0 <= value <= 1),
            ("adam_epsilon", "must be a positive number", lambda value: 0 < value < float("inf")),
            ("grad_clip", "must be a positive number, or inf", lambda value: value > 0),
            ("running_mean_decay", "must be at least 0 and below 1", lambda value: 0 <= value < 1),
            ("initial_log_std", "must be from -20 to 2", lambda value: -20 <= value <= 2),
        ):
            require_number(self, name, rule, holds)
        require_whole(
            self,
            "num_episodes_per_train_batch",
            "num_vf_updates",
            "num_envs_per_env_runner",
            "max_episode_steps",
        )
        require_whole(self, "train_batch_size_per_learner", least=0)
        for name, choices in (
            ("estimator", Estimator),
            ("baseline", Baseline),
            ("fcnet_activation", Activation),
        ):
            require(
                getattr(self, name) in get_args(choices),
                name,
                f"must be one of {', '.join(get_args(choices))}",
                getattr(self, name),
            )
        require(
            not (self.discount_from_start and self.estimator == "total_return"),
            "discount_from_start",
            "must be False with estimator total_return, whose discount always counts from the start",
            self.discount_from_start,
        )
        bootstraps = self.baseline == "value" and self.estimator == "reward_to_go"
        require(
            bootstraps or not self.bootstrap_truncated,
            "bootstrap_truncated",
            "must be False unless baseline is value and estimator is reward_to_go",
            self.bootstrap_truncated,
        )


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
"""Settings by environment (curves: docs/results.md); any other starts from `REINFORCEOptions()`."""
