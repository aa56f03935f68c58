"""Every hyperparameter of the conditional VAE, with the homework's values as defaults. No torch here, so that `--help` stays instant."""

from dataclasses import dataclass
from typing import Literal, get_args

from algorithms.generative.options import GenerativeOptions

Architecture = Literal["mlp", "conv"]
Prior = Literal["standard", "learned", "flow"]
Binarisation = Literal["dynamic", "none"]
VALIDATION_SHARE = 12
"""The last 1 / so many of the training digits are held out for validation: 5,000 of MNIST's 60,000."""


@dataclass(frozen=True)
class CVAEOptions(GenerativeOptions):
    """Hyperparameters of one conditional VAE; the defaults are the homework's preset.

    Raises ValueError, naming the value, when one is out of its range or two exclude each other.
    """

    latent_size: int = 20
    """Size of the latent vector z."""
    architecture: Architecture = "mlp"
    """Which encoder and decoder: mlp (fully connected), conv (strided convolutions with residual blocks at 7 x 7)."""
    width: int = 400
    """Units of a hidden layer; conv has width / 16 channels at 14 x 14 and width / 8 at 7 x 7 besides."""
    depth: int = 2
    """Hidden layers of either network (mlp), or residual blocks (conv)."""
    prior: Prior = "standard"
    """Which p(z|y): standard, N(0, I) whatever the label; learned, a Gaussian per label; flow, a Gaussian per label, bent by a flow."""
    binarisation: Binarisation = "none"
    """What the networks are trained on: none, grey levels as probabilities; dynamic, a fresh Bernoulli draw of them per use."""
    num_train_digits: int = 0
    """Train on the first so many digits; 0 is all but the validation split."""
    batch_size: int = 32
    """Digits per update."""
    lr: float = 1e-3
    """Adam's step size."""
    beta: float = 1.0
    """Weight of the KL term in the training objective."""
    beta_warmup_updates: int = 0
    """Updates over which that weight rises evenly from 0 to beta."""
    num_importance_samples: int = 1
    """Draws of z per digit in the training objective: 1 is the ELBO, more the importance-weighted bound, which has no beta."""
    num_nll_samples: int = 50
    """Draws of z per digit for `nll` at every report."""
    num_nll_digits: int = 200
    """Validation digits for `nll` at every report."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in (
            "depth",
            "num_importance_samples",
            "num_nll_samples",
            "num_nll_digits",
        ):
            _require(getattr(self, name) >= 1, name, "must be at least 1", getattr(self, name))
        for name in ("num_train_digits", "beta_warmup_updates"):
            _require(getattr(self, name) >= 0, name, "must be at least 0", getattr(self, name))
        for name, allowed in (
            ("architecture", get_args(Architecture)),
            ("prior", get_args(Prior)),
            ("binarisation", get_args(Binarisation)),
        ):
            _require(
                getattr(self, name) in allowed,
                name,
                f"must be one of {', '.join(allowed)}",
                getattr(self, name),
            )
        least = 16 if self.architecture == "conv" else 1
        _require(self.width >= least, "width", f"must be at least {least} ({self.architecture})", self.width)
        if self.prior == "flow" and self.latent_size == 1:
            raise ValueError("prior flow excludes latent_size 1: its couplings need two units")
        _require(0 < self.lr < float("inf"), "lr", "must be a positive number", self.lr)
        _require(0 <= self.beta < float("inf"), "beta", "must be at least 0 and finite", self.beta)
        if self.num_importance_samples > 1 and (self.beta != 1 or self.beta_warmup_updates):
            raise ValueError(
                f"num_importance_samples {self.num_importance_samples} excludes beta {self.beta:g} and beta_warmup_updates "
                f"{self.beta_warmup_updates}: the importance-weighted bound has no KL term to weigh (leave them at 1 and 0)"
            )

    def num_train(self, num_digits: int) -> int:
        """Return how many of `num_digits` training digits it is trained on; the last 1 / VALIDATION_SHARE of them are for validation.

        Raises ValueError where they are too few for `num_train_digits`, for `num_nll_digits` or for a batch.
        """
        most = num_digits - num_digits // VALIDATION_SHARE
        _require(
            self.num_train_digits <= most,
            "num_train_digits",
            f"must be at most {most} (the rest validates)",
            self.num_train_digits,
        )
        rest = num_digits - most
        _require(
            self.num_nll_digits <= rest,
            "num_nll_digits",
            f"must be at most {rest} (the validation digits)",
            self.num_nll_digits,
        )
        return super().num_train(self.num_train_digits or most)


def _require(condition: bool, name: str, rule: str, value: object) -> None:
    if not condition:
        raise ValueError(f"{name} {rule}, got {value!r}")


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
"""Settings by name: the homework's, and one that a search found good for likelihood and labels alike (docs/results.md)."""
