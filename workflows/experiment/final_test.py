"""The best trial on the test data, once, when the search has ended. So the test data choose nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from algorithms.generative import CHECKPOINT_FILE
from workflows import results
from workflows.cli import terminal


def tested(run: results.Run, measure: Callable[..., dict[str, Any]], data: Any) -> results.Run:
    """Return the run with its best trial's measurement, which is also written to test.json.

    Return it unchanged if a trial has been measured, if one has not ended, or if none ran to its end.
    """
    best = run.best()
    if best is None or run.num_ended < run.record["flags"]["num_samples"]:
        return run
    if run.test is not None:
        met = run.test["trial_id"]
        if met != best["trial_id"]:
            now = f"the best is {best['trial_id']} by now"
            terminal.note(f"the test digits have met trial {met} and meet no other; {now}")
        return run
    if pd.isna(best["checkpoint"]):
        raise FileNotFoundError(f"trial {best['trial_id']} has no checkpoint")
    import torch

    state = torch.load(Path(best["checkpoint"]) / CHECKPOINT_FILE, map_location="cpu", weights_only=True)
    message = "trials are done; now the best one's likelihood on the test digits"
    with terminal.progress("test digits", message) as progress:
        metrics = measure(state, data, progress)
    record = {"trial_id": best["trial_id"], "checkpoint": best["checkpoint"], "dataset": data.name, **metrics}
    results.write_test(run.folder, record)
    return run.with_test(record)
