"""Every hyperparameter of the conditional VAE. No torch here, so that `--help` stays instant."""

from dataclasses import dataclass
from typing import Literal, get_args

from algorithms.checks import Checks
from algorithms.generative.options import GenerativeOptions

Architecture = Literal["mlp", "conv"]
Prior = Literal["standard", "learned", "flow"]
Binarisation = Literal["dynamic", "none"]
VALIDATION_SHARE = 12
"""The last 1 / VALIDATION_SHARE of the training digits validate: 5,000 of MNIST's 60,000."""


@dataclass(frozen=True)
class CVAEOptions(GenerativeOptions):
    """Hyperparameters of one conditional VAE; the defaults are the reference setting.

    Raises ValueError, naming field and value, for values out of range or that exclude each other.
    """

    latent_size: int = 20
    """Size of the latent vector z."""
    architecture: Architecture = "mlp"
    """Encoder and decoder: mlp (fully connected), conv (strided convolutions, residual blocks at 7 x 7)."""
    width: int = 400
    """Units of a hidden layer; conv also has width / 16 channels at 14 x 14 and width / 8 at 7 x 7."""
    depth: int = 2
    """Hidden layers of each network (mlp), or residual blocks (conv)."""
    prior: Prior = "standard"
    """p(z|y): standard, N(0, I) for all labels; learned, a Gaussian per label; flow, a flow per label."""
    binarisation: Binarisation = "none"
    """Training targets: none, grey levels as probabilities; dynamic, a fresh Bernoulli draw per use."""
    num_train_digits: int = 0
    """Number of training digits, the first of the set; 0 takes all but the validation split."""
    batch_size: int = 32
    """Digits per update."""
    lr: float = 1e-3
    """Adam's step size."""
    beta: float = 1.0
    """Weight of the KL term in the training objective."""
    beta_warmup_updates: int = 0
    """Updates over which that weight rises linearly from 0 to beta."""
    num_importance_samples: int = 1
    """Draws of z per digit in the objective: 1 is the ELBO, more the importance-weighted bound (no beta)."""
    num_nll_samples: int = 50
    """Draws of z per digit for `nll` at every report."""
    num_nll_digits: int = 200
    """Validation digits for `nll` at every report."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks = Checks(self)
        checks.whole("depth", "num_importance_samples", "num_nll_samples", "num_nll_digits", least=1)
        checks.whole("num_train_digits", "beta_warmup_updates", least=0)
        checks.one_of("architecture", get_args(Architecture)).one_of("prior", get_args(Prior))
        checks.one_of("binarisation", get_args(Binarisation))
        least = 16 if self.architecture == "conv" else 1
        rule = f"a whole number of at least {least} ({self.architecture})"
        checks.that(type(self.width) is int and self.width >= least, "width", rule)
        checks.number("lr", above=0).number("beta", least=0)
        if self.prior == "flow" and self.latent_size == 1:
            raise ValueError("prior flow excludes latent_size 1: its couplings need two units")
        if self.num_importance_samples > 1 and (self.beta != 1 or self.beta_warmup_updates):
            excluded = f"beta {self.beta:g} and beta_warmup_updates {self.beta_warmup_updates}"
            raise ValueError(
                f"num_importance_samples {self.num_importance_samples} excludes {excluded}: "
                "the importance-weighted bound has no KL term (leave them at 1 and 0)"
            )

    def num_train(self, num_digits: int) -> int:
        """Return how many of `num_digits` training digits train the model; the others validate it.

        Raises ValueError where they are too few for `num_train_digits`, `num_nll_digits` or a batch.
        """
        num_validation = num_digits // VALIDATION_SHARE
        most = num_digits - num_validation
        checks = Checks(self)
        checks.that(self.num_train_digits <= most, "num_train_digits", f"at most {most} (the rest validates)")
        rule = f"at most {num_validation} (the validation digits)"
        checks.that(self.num_nll_digits <= num_validation, "num_nll_digits", rule)
        return super().num_train(self.num_train_digits or most)


PRESETS = {
    "homework": CVAEOptions(),
    "likelihood": CVAEOptions(
        latent_size=16,
        architecture="conv",
        width=384,
        depth=2,
        prior="flow",
        binarisation="dynamic",
        batch_size=128,
        lr=2e-3,
        ema_decay=0.999,
    ),
}
"""Settings by name: the reference setting, and the one that a search found best (docs/results.md)."""
