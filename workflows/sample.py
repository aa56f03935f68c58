"""Digits from a run's best generative model: `python workflows/sample.py RUN_DIR`, while the run goes on, after it ended or was killed.
run folder --> its best trial, or --trial --> that trial's newest checkpoint --> a page as .png, or arrays as .npz"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from workflows.cli.flags import UsageError, parse_plain, require, run_main
from workflows.runs.files import RUN_FILE

# Which module's `samples` draws digits for a run of which program: a run folder can name no other.
SAMPLING = {"tune_gan": "algorithms.gan.sampling", "tune_cvae": "algorithms.cvae.sampling"}
ROW = 10  # as STEPS of those modules, and as there are digits
CHECKPOINT_FILE = (
    "trainer.pt"  # as in algorithms.generative.trainable, whose import would bring Ray's with it
)


@dataclass(frozen=True)
class SampleFlags:
    """Draw digits from the best generative model of a run of tune_gan or tune_cvae; the best is among the trials that ran to their end."""

    run_dir: Annotated[str, Positional, arg(metavar="RUN_DIR")]
    """The run's folder."""
    num: int = 100
    """How many digits; without --digit, a CVAE draws 0 to 9 in turn. With --grid or --interpolate a multiple of 10."""
    output: str = "samples.png"
    """A .png: ten in a row. A .npz: images uint8 [num, 28, 28], ink 255; of a CVAE labels int64 [num]. An old file is replaced."""
    digit: Annotated[int | None, arg(metavar="INT")] = None
    """Draw this digit only (CVAE; not with --grid)."""
    grid: bool = False
    """Ten rows, the digits 0 to 9, of --num / 10 columns; a column has the same draw of noise, and so one style (CVAE)."""
    interpolate: bool = False
    """Rows of ten even steps from one draw of noise to another; a CVAE's keep to one digit."""
    trial: Annotated[str | None, arg(metavar="STR")] = None
    """Another trial than the best: its trial_id, or an ending that no other has, such as 00003."""
    seed: int = 0
    """Seed of the noise: the same digits every time, on the same device."""

    def __post_init__(self) -> None:
        require(1 <= self.num <= 100_000, "--num", self.num, "must be 1 to 100000")
        require(self.digit in (None, *range(10)), "--digit", self.digit, "must be 0 to 9")
        if self.grid and self.interpolate:
            raise UsageError(
                "--grid excludes --interpolate: a row is either one digit's styles or the way between two of them"
            )
        in_rows = self.grid or self.interpolate
        require(
            not in_rows or self.num % ROW == 0,
            "--num",
            self.num,
            f"must be a multiple of {ROW} with --grid or --interpolate",
        )
        require(
            self.digit is None or not self.grid,
            "--digit",
            self.digit,
            "must be left out with --grid, whose rows are all ten digits",
        )
        require(0 <= self.seed < 2**32, "--seed", self.seed, "must be at least 0 and below 2**32")
        require(
            Path(self.output).suffix.lower() in (".png", ".npz"),
            "--output",
            self.output,
            "must end in .png or .npz",
        )


def sample(argv: Sequence[str]) -> int:
    """Parse the flags, draw, write, and return the exit code. What needs nothing loaded is checked first."""
    flags = parse_plain(SampleFlags, argv)
    run_dir, output = (
        Path(os.path.abspath(os.path.expanduser(path))) for path in (flags.run_dir, flags.output)
    )
    writable = (
        os.path.isdir(output.parent)
        and os.access(output.parent, os.W_OK | os.X_OK)
        and not os.path.isdir(output)
    )
    require(
        writable, "--output", flags.output, "must be a file in a folder that exists and may be written to"
    )
    require(
        os.path.isfile(run_dir / RUN_FILE),
        "RUN_DIR",
        flags.run_dir,
        f"must be a run folder, with a {RUN_FILE}",
    )
    program, metric, trial = _choose(run_dir, flags.trial)
    for flag, value in (("--digit", flags.digit), ("--grid", flags.grid or None)):
        require(
            value is None or program == "tune_cvae",
            flag,
            value,
            f"must be left out for {program}, which knows no labels",
        )
    arrays = _draw(Path(trial["checkpoint"], CHECKPOINT_FILE), program, flags)
    import numpy as np

    from algorithms.generative.images import grid, save_png

    try:
        with tempfile.TemporaryDirectory(
            dir=output.parent, prefix=".sample-"
        ) as folder:  # so that it is written whole or not at all
            temporary = Path(folder, "samples" + output.suffix.lower())
            if temporary.suffix == ".png":
                save_png(
                    grid(arrays["images"], num_columns=flags.num // ROW if flags.grid else ROW), temporary
                )
            else:
                np.savez_compressed(temporary, **arrays)
            temporary.replace(output)
    except OSError as error:
        raise UsageError(f"--output {flags.output!r} can't be written: {error.strerror or error}") from None
    source = f"trial {trial['trial_id']} ({metric} {trial.get(metric, float('nan')):.4g}, {Path(trial['checkpoint']).name})"
    print(f"{flags.num} digit{'s' * (flags.num > 1)} of {source} in {flags.output}")
    return 0


def _choose(run_dir: Path, wanted: str | None) -> tuple[str, str, Any]:
    """Return the run's program, its metric, and the row of `results.load_trials` to sample, which has a checkpoint."""
    from workflows import results
    from workflows.runs import files as run_files

    try:
        run = run_files.read_run(run_dir)
        program, metric = str(run["program"]), str(run["metric"])
        if program not in SAMPLING:
            raise UsageError(
                f"{run_dir} is a run of {program}, which makes no images; sample.py knows {', '.join(SAMPLING)}"
            )
        trials, best = results.load_trials(run_dir), results.best(run_dir, metric, run["mode"])
    except (OSError, LookupError, TypeError, ValueError) as error:
        raise UsageError(
            f"{run_dir} can't be read; is its {RUN_FILE} broken? ({type(error).__name__}: {error})"
        ) from None
    ready = trials[trials["checkpoint"].notna()].set_index("trial_id", drop=False)
    wanted = best["trial_id"] if wanted is None and best is not None else wanted
    found = [trial_id for trial_id in ready.index if wanted and trial_id.endswith(wanted)]
    if len(found) != 1:
        wrong = (
            "must be given, as no trial has run to its end yet: one"
            if wanted is None
            else f"{wanted!r} fits {len(found) or 'none'}"
        )
        raise UsageError(
            f"--trial {wrong} of the trials with a checkpoint ({', '.join(ready.index) or 'there is none yet'})"
        )
    return program, metric, ready.loc[found[0]]


def _draw(checkpoint: Path, program: str, flags: SampleFlags) -> dict[str, Any]:
    """Return the images and, where the model knows them, the labels; no code that a checkpoint may hold is run."""
    import torch

    samples = importlib.import_module(SAMPLING[program]).samples
    layout = "grid" if flags.grid else "interpolation" if flags.interpolate else "draws"
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        images, labels = samples(state, flags.num, flags.digit, flags.seed, device, layout)
    except (
        Exception
    ) as error:  # of many classes: cut short, just being written, another version's; or memory ran out
        reason = " ".join(str(error).split()).split(". ")[0][
            :300
        ]  # one sentence: torch's next may advise to run what the file holds
        raise UsageError(
            f"{checkpoint} can't be sampled; broken, or just being written? ({type(error).__name__}: {reason})"
        ) from None
    return {"images": images} | ({} if labels is None else {"labels": labels})


def main(argv: Sequence[str] | None = None) -> int:
    """Run `sample` with one-line errors."""
    return run_main(sample, "sample.py", argv)


if __name__ == "__main__":
    sys.exit(main())
