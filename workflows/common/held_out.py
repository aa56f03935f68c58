"""The best trial on the test digits: once, when a search has ended, and never before, so that nothing was chosen by them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from workflows.common import console, results

if TYPE_CHECKING:
    from algorithms.mnist import MNIST
    from workflows.common.search import Search


def evaluate(run_dir: Path, search: Search, data: MNIST) -> None:
    """Write test.json for the best trial, unless it is there already; nothing if the search has no such test or no trial ran to its end."""
    best = results.best(run_dir, search.metric, search.mode)
    if search.test is None or best is None or best["checkpoint"] is None:
        return
    done = results.read_test(run_dir)
    if done is not None and done["trial_id"] == best["trial_id"]:
        return
    import torch

    from algorithms.trainable import CHECKPOINT_FILE

    state = torch.load(Path(best["checkpoint"]) / CHECKPOINT_FILE, map_location="cpu", weights_only=True)
    with console.progress("test digits", "trials are done; now the best one's likelihood on the test digits") as progress:
        metrics = search.test(state, data, progress)
    results.write_test(run_dir, {"trial_id": best["trial_id"], "checkpoint": best["checkpoint"], "dataset": data.name, **metrics})
