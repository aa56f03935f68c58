"""Every hyperparameter of the DCGAN. No torch here, so that `--help` stays instant."""

from dataclasses import dataclass
from typing import Literal, get_args

from algorithms.checks import Checks
from algorithms.generative.options import GenerativeOptions

Loss = Literal["non_saturating"]
LOSSES: tuple[Loss, ...] = get_args(Loss)
"""Names of the loss pairs in `losses.LOSSES`."""


@dataclass(frozen=True)
class GANOptions(GenerativeOptions):
    """Hyperparameters of one DCGAN; the defaults are the reference setting.

    Raises ValueError, naming field and value, for values out of range.
    """

    latent_size: int = 96
    """Size of the noise vector z, drawn uniformly from (-1, 1)."""
    width: int = 32
    """Channels of the discriminator's first layer; all other layers are multiples of it."""
    batch_size: int = 128
    """Real digits per update; as many fakes are drawn."""
    generator_lr: float = 1e-3
    """Adam's step size for the generator."""
    discriminator_lr: float = 1e-3
    """Adam's step size for the discriminator."""
    beta1: float = 0.5
    """Adam's decay of the first moment, for both networks."""
    beta2: float = 0.999
    """Adam's decay of the second moment, for both networks."""
    loss: Loss = "non_saturating"
    """Pair of losses: non_saturating (Goodfellow+ 2014)."""
    label_smoothing: float = 0.0
    """One-sided: real digits get the target 1 - label_smoothing, fakes keep 0."""
    ema_decay: float = 0.0
    """Decay per update of the averaged generator, which draws the samples; 0 turns averaging off."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks = Checks(self).whole("width", least=1)
        checks.that(self.batch_size >= 2, "batch_size", "at least 2 (batch normalisation needs a spread)")
        checks.number("generator_lr", "discriminator_lr", above=0)
        checks.number("beta1", "beta2", least=0, below=1).number("label_smoothing", least=0, below=0.5)
        checks.one_of("loss", LOSSES)
