"""Search a conditional VAE's hyperparameters on MNIST with Ray Tune: `python workflows/tune_cvae.py`, on a laptop or on a cluster."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from algorithms.cvae.options import PRESETS, CVAEOptions
from workflows.cli.flags import parse, require, run_main
from workflows.cli.option_flags import flags_of, left_out, over
from workflows.experiment import search
from workflows.programs import PROGRAMS
from workflows.runs import folder as run_folder

if TYPE_CHECKING:
    from algorithms.mnist import MNIST

SMOKE: dict[str, Any] = {
    "num_samples": 3, "max_updates": 120, "updates_per_report": 30, "dataset": "mnist-10k", "num_test_samples": 100, "num_test_digits": 500,
    "num_nll_samples": 10, "num_nll_digits": 100,
} | search.SMOKE_SCORING  # fmt: skip

COLUMNS = ("elbo", "nll", "reconstruction", "kl", "active_units", "conditional_accuracy", "fid_mnist")


@dataclass(frozen=True)
class TuneCVAEFlags(flags_of(CVAEOptions), search.SearchFlags):  # type: ignore[misc]
    """Search the hyperparameters of a conditional VAE on MNIST. The first trial is the preset (default: the homework's), run to the end."""

    preset: Literal["homework", "likelihood"] = "homework"
    """The first trial, and what the search leaves alone: the homework's setting, or one found to have a high likelihood."""
    metric: Literal[
        "elbo", "nll", "reconstruction", "conditional_accuracy", "fid_mnist", "classifier_score"
    ] = "elbo"
    """What the search improves, on validation digits or on samples."""
    num_test_samples: int = 1000
    """Draws of z per test digit for the best trial's `nll`."""
    num_test_digits: int = 0
    """Test digits for it; 0 is all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.num_test_samples >= 1, "--num-test-samples", self.num_test_samples, "must be at least 1")
        require(
            self.num_test_digits == 0 or 2 <= self.num_test_digits <= 10_000,
            "--num-test-digits",
            self.num_test_digits,
            "must be 0, or 2 to 10000",
        )


def space() -> dict[str, Any]:
    """Return the search space: names of CVAEOptions, and where Tune draws their values from."""
    from ray import tune

    return {
        "architecture": tune.choice(["mlp", "conv"]),
        "width": tune.choice(
            [128, 192]
        ),  # ten million test decodes of a wider conv would take a processor longer than the search
        "depth": tune.choice([1, 2]),
        "latent_size": tune.choice([16, 32, 48]),
        "prior": tune.choice(["standard", "learned", "flow"]),
        "binarisation": tune.choice(["dynamic"]),  # the homework's grey levels are for the baseline to try
        "batch_size": tune.choice([64, 128]),
        "lr": tune.loguniform(3e-4, 2e-3),
        "ema_decay": tune.choice([0.0, 0.99, 0.998]),
    }


def tester(
    flags: TuneCVAEFlags,
) -> Callable[[dict[str, Any], MNIST, Callable[[int, int], None]], dict[str, Any]]:
    """Return what measures a trained model's likelihood on the test digits."""

    def test(state: dict[str, Any], data: MNIST, progress: Callable[[int, int], None]) -> dict[str, Any]:
        import torch

        from algorithms.cvae.likelihood import measure

        device = "cuda" if flags.gpus_per_trial and torch.cuda.is_available() else "cpu"
        num = flags.num_test_digits or len(data.test_images)
        return measure(
            state,
            data.test_images[:num],
            data.test_labels[:num],
            flags.num_test_samples,
            flags.seed,
            device,
            progress,
        )

    return test


def tune_cvae(argv: Sequence[str]) -> int:
    """Parse the flags, search, and return the exit code."""
    flags = parse(TuneCVAEFlags, argv, smoke=SMOKE, saved=run_folder.saved_flags)
    preset = over(PRESETS[flags.preset], flags)
    return search.run(
        flags,
        search.Search(
            program="tune_cvae",
            trainer="algorithms.cvae.trainer:Trainer",
            preset=preset,
            space=lambda: left_out(space(), flags, CVAEOptions),
            metric=flags.metric,
            mode=PROGRAMS["tune_cvae"].metrics[flags.metric],
            columns=COLUMNS,
            test=tester(flags),
        ),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run `tune_cvae` with one-line errors."""
    return run_main(tune_cvae, "tune_cvae.py", argv)


if __name__ == "__main__":
    sys.exit(main())
