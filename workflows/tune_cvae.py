"""Search a conditional VAE's hyperparameters on MNIST: `python workflows/tune_cvae.py`, also on a cluster."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from algorithms.cvae.options import PRESETS, CVAEOptions
from workflows.cli.flags import checks, parse, run_main
from workflows.cli.option_flags import apply_flags, flags_of, not_given
from workflows.experiment import experiment, search
from workflows.programs import PROGRAMS
from workflows.runs import folder as run_folder

SMOKE: dict[str, Any] = search.SMOKE | {
    "max_updates": 120,
    "updates_per_report": 30,
    "num_test_samples": 100,
    "num_test_digits": 500,
    "num_nll_samples": 10,
    "num_nll_digits": 100,
}
# A wider conv would spend more processor time on its ten million test decodes than on the search.
SPACE: dict[str, Any] = {
    "architecture": ("choice", ["mlp", "conv"]),
    "width": ("choice", [128, 192]),
    "depth": ("choice", [1, 2]),
    "latent_size": ("choice", [16, 32, 48]),
    "prior": ("choice", ["standard", "learned", "flow"]),
    "binarisation": ("choice", ["dynamic"]),  # only the baseline trains on grey levels
    "batch_size": ("choice", [64, 128]),
    "lr": ("loguniform", 3e-4, 2e-3),
    "ema_decay": ("choice", [0.0, 0.99, 0.998]),
}
"""The search space: name of an option -> how Tune draws it."""
GROUP = "model (defaults of --preset homework)"


@dataclass(frozen=True)
class TuneCVAEFlags(flags_of(PRESETS["homework"], SPACE, GROUP), search.SearchFlags):  # type: ignore[misc]
    """Search the hyperparameters of a conditional VAE on MNIST. The first trial, the baseline, is the preset.

    A flag of the model fixes a hyperparameter for all trials; it is not searched then.
    """

    preset: Literal["homework", "likelihood"] = "homework"
    """The baseline and what isn't searched: the reference setting, or one of high likelihood."""
    metric: Literal[
        "elbo", "nll", "reconstruction", "conditional_accuracy", "fid_mnist", "classifier_score"
    ] = "elbo"
    """What the search improves, on validation digits or on samples."""
    num_test_samples: int = 1000
    """Draws of z per test digit for the best trial's `nll`."""
    num_test_digits: int = 0
    """Test digits for the best trial's `nll`; 0 is all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        num = self.num_test_digits
        check = checks(self).whole("num_test_samples", least=1)
        check.that(num == 0 or 2 <= num <= 10_000, "num_test_digits", "0, or 2 to 10000")


def test_likelihood(flags: TuneCVAEFlags, state: dict[str, Any], data: Any, progress: Any) -> dict[str, Any]:
    """Return a trained model's likelihood on the test digits."""
    import torch

    from algorithms.cvae.likelihood import measure

    device = "cuda" if flags.gpus_per_trial and torch.cuda.is_available() else "cpu"
    num = flags.num_test_digits or len(data.test_images)
    images, labels = data.test_images[:num], data.test_labels[:num]
    return measure(state, images, labels, flags.num_test_samples, flags.seed, device, progress)


def tune_cvae(argv: Sequence[str]) -> int:
    """Parse the flags, search, and return the exit code."""
    flags = parse(TuneCVAEFlags, argv, smoke=SMOKE, saved=run_folder.saved_flags)
    return experiment.run(
        search.Search(
            program=PROGRAMS["tune_cvae"],
            flags=flags,
            options=apply_flags(PRESETS[flags.preset], flags),
            space=not_given(SPACE, flags, CVAEOptions),
            improves=flags.metric,
            test=lambda state, data, progress: test_likelihood(flags, state, data, progress),
        )
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run `tune_cvae` with one-line errors."""
    return run_main(tune_cvae, "tune_cvae.py", argv)


if __name__ == "__main__":
    sys.exit(main())
