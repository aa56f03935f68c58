"""Run folders made by hand, as Tune would leave them."""

import json
from pathlib import Path
from typing import Any

GREEDY = "evaluation/env_runners/episode_return_mean"
STATE = "experiment_state-2026-01-01_00-00-00.json"


def make_run(folder: Path, trials: list[dict[str, Any]], max_updates: int = 40, **record: Any) -> Path:
    """Write a run folder as Tune would: per trial an id, a status, a config, and the text of its result.json;
    `record` goes to run.json.

    A trial with `"saved": False` began after Tune had last saved the run's state: it has but its folder, with
    its params.json.
    """
    folder.mkdir()
    run = {
        "metric": "fid",
        "mode": "min",
        "baseline": {"lr": 1},
        "num_reports": -(-max_updates // 10),
    } | record
    (folder / "run.json").write_text(json.dumps(run))
    (folder / STATE).write_text(state([trial for trial in trials if trial.get("saved", True)]))
    for trial in trials:
        (folder / trial["trial_id"]).mkdir()
        if "reports" in trial:
            (folder / trial["trial_id"] / "result.json").write_text(trial["reports"])
        if not trial.get("saved", True):
            (folder / trial["trial_id"] / "params.json").write_text(json.dumps(trial["config"]))
    return folder


def state(trials: list[dict[str, Any]]) -> str:
    """Return what Tune saves of a run's trials."""
    return json.dumps(
        {
            "trial_data": [
                [json.dumps({key: trial[key] for key in ("trial_id", "status", "config")}), "{}"]
                for trial in trials
            ]
        }
    )


def line(iteration: int, fid: float, **more: Any) -> str:
    return (
        json.dumps({"training_iteration": iteration, "fid": fid, "config": {"lr": 1}, "pid": 3, **more})
        + "\n"
    )


def trial(number: int, *scores: float, status: str = "TERMINATED", **config: Any) -> dict[str, Any]:
    """Return a trial that reported these scores, one every 10 updates."""
    reports = "".join(
        line(i, score, config=config, updates=10 * i, time_total_s=2.0 * i)
        for i, score in enumerate(scores, start=1)
    )
    return {"trial_id": f"t_{number:05d}", "status": status, "config": config, "reports": reports}


def make_training(
    folder: Path,
    returns: list[float | None],
    status: str = "TERMINATED",
    program: str = "train_dqn",
    **record: Any,
) -> Path:
    """Write the folder of a training with these mean greedy returns (None: no evaluation), a report every
    1000 environment steps.
    """
    reports = []
    for i, greedy in enumerate(returns, start=1):
        runners = (
            {"episode_return_mean": 10.0 * i} if i > 1 else {"num_episodes": 0}
        )  # no episode has ended by the first report
        report = {
            "training_iteration": i,
            "num_env_steps_sampled_lifetime": 1000.0 * i,
            "time_total_s": 0.5 * i,
            "env_runners": runners,
            "learners": {"default_policy": {"total_loss": 1 / i, "num_updates_lifetime": 8 * i}},
            "env_steps_per_s": 2000.0,
            "updates_per_s": 16.0,
            "weights_lag": 0.0,
            "learner_idle_share": 0.25,
            "env_runners_idle_share": 0.5,
            "config": {"lr": 0.001, "fcnet_hiddens": [64, 64]},
        }
        reports.append(
            report
            | ({} if greedy is None else {"evaluation": {"env_runners": {"episode_return_mean": greedy}}})
        )
    one = {
        "trial_id": "t_00000",
        "status": status,
        "config": {},
        "reports": "".join(json.dumps(report) + "\n" for report in reports),
    }
    asked = {
        "program": program,
        "metric": GREEDY,
        "mode": "max",
        "flags": {"env": "CartPole-v1", "seed": 3},
        "preset": {"lr": 0.001},
    }
    make_run(folder, [one])
    (folder / "run.json").write_text(json.dumps(asked | record))
    return folder
