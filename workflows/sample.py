"""Digits from a run's best generative model: `python workflows/sample.py RUN_DIR`, also during the run.

    run folder --> its best trial, or --trial --> the newest checkpoint --> a page as .png, arrays as .npz

It runs no code that a checkpoint may hold.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from algorithms.generative import CHECKPOINT_FILE, ROW
from workflows.cli.flags import UsageError, absolute, checks, may_write, parse_plain, require, run_main
from workflows.cli.terminal import error_text
from workflows.programs import PROGRAMS, Program, attribute
from workflows.runs.folder import given_run

if TYPE_CHECKING:
    from workflows.results import Run


@dataclass(frozen=True)
class SampleFlags:
    """Draw digits from a search's best generative model, among the trials that ran to their end."""

    run_dir: Annotated[str, Positional, arg(metavar="RUN_DIR")]
    """The run's folder."""
    num: int = 100
    """Number of digits; with --grid or --interpolate a multiple of 10. With labels, 0 to 9 come in turn."""
    output: str = "samples.png"
    """A .png has ten digits in a row. A .npz has images, uint8 [num, 28, 28] with ink 255, and labels, int64
    [num], if the model has labels. An old file is replaced."""
    digit: Annotated[int | None, arg(metavar="INT")] = None
    """Draw this digit only (models with labels; not with --grid)."""
    grid: bool = False
    """Ten rows, the digits 0 to 9; the same noise, and so one style, down a column (models with labels)."""
    interpolate: bool = False
    """Rows of ten even steps from one draw of noise to another. With labels, a row keeps to one digit."""
    trial: Annotated[str | None, arg(metavar="STR")] = None
    """Another trial than the best: its trial_id, or an ending that no other trial_id has, such as 00003."""
    seed: int = 0
    """Seed of the noise. The same seed draws the same digits on the same device."""

    def __post_init__(self) -> None:
        rules = checks(self).whole("num", least=1, most=100_000)
        rules.that(self.digit in (None, *range(10)), "digit", "0 to 9")
        if self.grid and self.interpolate:
            raise UsageError("--grid excludes --interpolate: leave one of them out")
        whole_rows = self.num % ROW == 0 or not (self.grid or self.interpolate)
        rules.that(whole_rows, "num", f"a multiple of {ROW} with --grid or --interpolate")
        all_digits = "left out with --grid, whose rows are all ten digits"
        rules.that(self.digit is None or not self.grid, "digit", all_digits)
        rules.that(0 <= self.seed < 2**32, "seed", "at least 0 and below 2**32")
        suffix = Path(self.output).suffix.lower()
        rules.that(suffix in (".png", ".npz"), "output", "a name that ends in .png or .npz")


def sample(argv: Sequence[str]) -> int:
    """Parse the flags, draw, write, and return the exit code. What needs no heavy import is checked first."""
    flags = parse_plain(SampleFlags, argv)
    output = absolute(flags.output)
    require(may_write(output), "--output", flags.output, "must be a file in a folder that you may write to")
    folder = given_run(flags.run_dir)
    from workflows import results

    run = results.open_run(folder)
    program = run.program
    if not program.draws:
        drawing = ", ".join(row.name for row in PROGRAMS.values() if row.draws)
        raise UsageError(f"{run.folder} is a run of {program.name}, which draws no digits; {drawing} do")
    has_labels = "conditional_accuracy" in program.metrics  # only labelled samples have it
    for flag, value in (("--digit", flags.digit), ("--grid", flags.grid or None)):
        if value is not None and not has_labels:
            raise UsageError(f"{flag} must be left out for {program.name}, which has no labels, got {value}")
    trial = _choose(run, flags.trial)
    checkpoint = Path(trial["checkpoint"])
    _write(output, _draw(checkpoint / CHECKPOINT_FILE, program, flags), flags)
    score = f"{run.metric} {trial.get(run.metric, float('nan')):.4g}"
    digits = f"{flags.num} digit{'s' * (flags.num > 1)}"
    print(f"{digits} of trial {trial['trial_id']} ({score}, {checkpoint.name}) in {flags.output}")
    return 0


def _choose(run: Run, wanted: str | None) -> Any:
    """Return the row of the best trial, or of the one whose trial_id ends in `wanted`."""
    best = run.best()
    ready = run.trials[run.trials["checkpoint"].notna()].set_index("trial_id", drop=False)
    wanted = best["trial_id"] if wanted is None and best is not None else wanted
    found = [trial_id for trial_id in ready.index if wanted and trial_id.endswith(wanted)]
    if len(found) == 1:
        return ready.loc[found[0]]
    wrong = f"{wanted!r} fits {len(found) or 'none'}"
    if wanted is None:
        wrong = "must be given, as no trial has run to its end yet: one"
    names = ", ".join(ready.index) or "there is none yet"
    raise UsageError(f"--trial {wrong} of the trials with a checkpoint ({names})")


def _draw(checkpoint: Path, program: Program, flags: SampleFlags) -> dict[str, Any]:
    """Return the images, and the labels if the model has labels."""
    import torch

    samples = attribute(program.draws).samples
    layout = "grid" if flags.grid else "interpolation" if flags.interpolate else "draws"
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        images, labels = samples(state, flags.num, flags.digit, flags.seed, device, layout)
    except Exception as error:  # cut short, just being written, of another version; or memory ran out
        why = error_text(error).split(". ")[0]  # torch's next sentence may advise to run what the file holds
        raise UsageError(f"{checkpoint} can't be sampled; broken, or just being written? ({why})") from None
    return {"images": images} | ({} if labels is None else {"labels": labels})


def _write(output: Path, arrays: dict[str, Any], flags: SampleFlags) -> None:
    """Write the arrays as .png or .npz, whole or not at all."""
    import numpy as np

    from algorithms.generative.images import grid, save_png

    try:
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=".sample-") as folder:
            temporary = Path(folder, "samples" + output.suffix.lower())
            if temporary.suffix == ".png":
                save_png(grid(arrays["images"], flags.num // ROW if flags.grid else ROW), temporary)
            else:
                np.savez_compressed(temporary, **arrays)
            temporary.replace(output)
    except OSError as error:
        raise UsageError(f"--output {flags.output!r} can't be written: {error.strerror or error}") from None


def main(argv: Sequence[str] | None = None) -> int:
    """Run `sample` with one-line errors."""
    return run_main(sample, "sample.py", argv)


if __name__ == "__main__":
    sys.exit(main())
