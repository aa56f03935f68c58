"""Run folders made by hand, as Tune would leave them."""

import json
from pathlib import Path
from typing import Any


def make_run(folder: Path, trials: list[dict[str, Any]], max_updates: int = 40) -> Path:
    """Write a run folder as Tune would: per trial an id, a status, a config, and the text of its result.json."""
    folder.mkdir()
    run = {"metric": "fid", "mode": "min", "baseline": {"lr": 1}, "num_reports": -(-max_updates // 10)}
    (folder / "run.json").write_text(json.dumps(run))
    state = {"trial_data": [[json.dumps({key: trial[key] for key in ("trial_id", "status", "config")}), "{}"] for trial in trials]}
    (folder / "experiment_state-2026-01-01_00-00-00.json").write_text(json.dumps(state))
    for trial in trials:
        (folder / trial["trial_id"]).mkdir()
        if "reports" in trial:
            (folder / trial["trial_id"] / "result.json").write_text(trial["reports"])
    return folder


def line(iteration: int, fid: float, **more: Any) -> str:
    return json.dumps({"training_iteration": iteration, "fid": fid, "config": {"lr": 1}, "pid": 3, **more}) + "\n"
