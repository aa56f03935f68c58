"""The best trial on the test digits: once, when a search has ended, and never before, so that nothing was chosen by them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from workflows import results
from workflows.experiment import console

if TYPE_CHECKING:
    from algorithms.mnist import MNIST
    from workflows.experiment.search import Search


def run(run_dir: Path, search: Search, data: MNIST, num_samples: int) -> None:
    """Write test.json for the best of `num_samples` trials, unless some trial of this run has one already.

    Nothing where the search has no such test, where some trial is still to end (it may become the best), or where none ran to its end.
    """
    if search.test is None or results.load(run_dir).num_ended < num_samples:
        return
    best, done = results.best(run_dir, search.metric, search.mode), results.read_test(run_dir)
    if best is None:
        return
    if done is not None:
        if done["trial_id"] != best["trial_id"]:
            console.note(
                f"the test digits have met trial {done['trial_id']} and meet no other; the best is {best['trial_id']} by now"
            )
        return
    if pd.isna(best["checkpoint"]):
        raise FileNotFoundError(f"trial {best['trial_id']} has no checkpoint")
    import torch

    from algorithms.generative.trainable import CHECKPOINT_FILE

    state = torch.load(Path(best["checkpoint"]) / CHECKPOINT_FILE, map_location="cpu", weights_only=True)
    with console.progress(
        "test digits", "trials are done; now the best one's likelihood on the test digits"
    ) as progress:
        metrics = search.test(state, data, progress)
    results.write_test(
        run_dir,
        {"trial_id": best["trial_id"], "checkpoint": best["checkpoint"], "dataset": data.name, **metrics},
    )
