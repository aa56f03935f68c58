"""Fit scaling_model.py to some points of results/scaling.json, check the others, predict, and draw.

No point is measured here. The fit uses the FITTED numbers of runners and trials, and no others."""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import scaling_model as model
from side_by_side import RESULTS

FIGURE = Path(__file__).parent.parent / "docs" / "images" / "scaling.png"
FITTED = {"real": (1, 2, 4, 16), "emulated": (10, 100), "trials": (10, 50, 100)}
SLOTS = 4
PREDICTED = ((8.0, 16), (1.0, 16), (1.0, 64), (0.125, 64))
"""`training_intensity` and `rollout_fragment_length`."""
RUNNERS_BUSY = 0.1
FULL = 0.85
"""Load of both cores above which this machine is the limit; such a point says nothing about a cluster."""
REPORT_PERIODS_S, SAVE_PERIODS_S = (50.0, 10.0), (1.0, 10.0)
"""Seconds between a trial's reports, and between saves of the search's state (TUNE_GLOBAL_CHECKPOINT_S)."""
BATCH_SIZE, EPISODE_STEPS = 128, 100

Point = dict[str, Any]


def is_fitted(point: Point) -> bool:
    """Return whether the fit uses a point of env runners."""
    return point["num_runners"] in FITTED[point["kind"]] and point["cpu_share"] < FULL


def dqn_setting(point: Point) -> model.Setting:
    """Return the setting of a measured point."""
    intensity = point["training_intensity"] / BATCH_SIZE
    return model.Setting(point["num_runners"], point["num_envs"], point["length"], point["step_s"], intensity)


def fit_dqn(points: list[Point], env_step_s: float) -> dict[str, model.Costs]:
    """Return the costs with real runners, and with emulated ones; the runner's own costs differ.

    The cost of an env step in the replay was measured alone. Whole runs can't separate it from updates,
    because the number of updates per env step is fixed.
    """
    rows = [point | {"step_runners": point["training_steps"] * point["num_runners"],
                     "step_pairs": point["training_steps"] * point["num_runners"] ** 2} for point in points]  # fmt: skip
    driver = model.fit(rows, "driver_s", {
        "step_s": "training_steps", "answer_s": "rollouts", "runner_s": "step_runners", "pair_s": "step_pairs"})  # fmt: skip
    between = model.fit(rows, "between_iterations_s", {"iteration_s": "iterations"})
    rows = [row | {"but_adding_s": row["learner_s"] - env_step_s * row["env_steps"]} for row in rows]
    learner = model.fit(
        rows, "but_adding_s", {"learn_s": "training_steps", "fetch_s": "rollouts", "update_s": "updates"}
    )
    learner["env_step_s"] = env_step_s
    costs = {}
    for kind in sorted({point["kind"] for point in points}):
        smallest = min(point["num_runners"] for point in points if point["kind"] == kind)
        alone = [point for point in points if point["kind"] == kind and point["num_runners"] == smallest]
        policy_s = statistics.median(
            point["rollout_s"] / point["length"] - point["step_s"] for point in alone
        )
        hand_over_s = statistics.median(point["runner_idle_s"] for point in alone)
        costs[kind] = model.Costs(policy_s=policy_s, hand_over_s=hand_over_s, **driver, **between, **learner)
    return costs


def check_dqn(points: list[Point], costs: dict[str, model.Costs]) -> list[Point]:
    """Return every point with the model's prediction."""
    checked = []
    for point in points:
        said = model.simulate(costs[point["kind"]], dqn_setting(point))
        checked.append({
            **{name: point[name] for name in ("kind", "num_runners", "num_envs", "length", "step_s", "training_intensity", "cpu_share")},
            "fitted": is_fitted(point),
            "env_steps_per_s": point["env_steps_per_s"],
            "said_env_steps_per_s": said.env_steps_per_s,
            "error": said.env_steps_per_s / point["env_steps_per_s"] - 1,
            "learner_idle_share": point["learner_idle_share"],
            "said_learner_idle_share": said.learner_idle_share,
            "env_runners_idle_share": point["env_runners_idle_share"],
            "said_env_runners_idle_share": said.runners_idle_share,
            "driver_share": (point["driver_s"] + point["between_iterations_s"]) / point["seconds"],
            "said_driver_share": said.driver_share,
            "weights_lag": point["weights_lag"],
            "said_weights_lag": said.weights_lag,
        })  # fmt: skip
    return checked


def fit_reinforce(points: list[Point]) -> model.BatchCosts:
    """Return the costs of points of one kind."""
    rows = [point | {"pairs": point["training_steps"] * point["num_runners"] ** 2} for point in points]
    rows = [
        row
        | {
            "update_s": row["learner_s"] - row["fit_s"],
            "drive_s": row["driver_s"] + row["between_iterations_s"],
        }
        for row in rows
    ]
    driver = model.fit(
        rows, "drive_s", {"step_s": "training_steps", "answer_s": "rollouts", "pair_s": "pairs"}
    )
    learner = model.fit(rows, "update_s", {"fetch_s": "rollouts", "env_step_s": "env_steps"})
    value = model.fit(rows, "fit_s", {"fit_env_step_s": "env_steps"})
    emulates = points[0]["kind"] == "emulated"
    free = replace(NO_BATCH_COSTS, **driver, **learner, **value)
    waits = [point for point in points if point["num_runners"] <= point["num_episodes"]]
    played = [point["rollout_s"] / model.batch_play_s(free, batch_setting(point)) for point in waits]
    policy_s = 0.0 if emulates else points[0]["step_s"] * (statistics.median(played) - 1)
    costs = replace(free, policy_s=policy_s)
    overlap = [max(0.0, point["wait_s"] / point["training_steps"] + point["fit_s"] / point["training_steps"]
               - model.batch_play_s(costs, batch_setting(point))) for point in waits]  # fmt: skip
    return replace(costs, hand_over_s=statistics.median(overlap))


NO_BATCH_COSTS = model.BatchCosts(
    policy_s=0, hand_over_s=0, step_s=0, answer_s=0, pair_s=0, fetch_s=0, env_step_s=0, fit_env_step_s=0
)  # fmt: skip


def batch_setting(point: Point) -> model.BatchSetting:
    """Return the setting of a measured point of REINFORCE."""
    return model.BatchSetting(
        point["num_runners"], point["num_envs"], point["step_s"], point["num_episodes"], EPISODE_STEPS
    )


def check_reinforce(points: list[Point], costs: model.BatchCosts) -> list[Point]:
    """Return every point with the model's prediction."""
    checked = []
    for point in points:
        said = model.batch_rate(costs, batch_setting(point))
        names = ("kind", "num_runners", "num_envs", "num_episodes", "cpu_share", "env_steps_per_s")
        names += ("learner_idle_share", "env_runners_idle_share")
        checked.append({name: point[name] for name in names} | {
            "fitted": is_fitted(point),
            **{f"said_{name}": value for name, value in said.items()},
            "error": said["env_steps_per_s"] / point["env_steps_per_s"] - 1,
        })  # fmt: skip
    return checked


def fit_head(points: list[Point]) -> model.HeadCosts:
    """Return the costs of the head of a search."""
    rows = [point | {"saved": point["num_trials"] * point["save_calls"], "kept": point["num_trials"] * point["kept_calls"],
                     "other_s": point["head_s"] - point["checkpoint_s"] - point["keep_s"]} for point in points]  # fmt: skip
    reports = model.fit(rows, "other_s", {"report_s": "num_reports"})
    saves = model.fit(rows, "checkpoint_s", {"save_s": "save_calls", "save_trial_s": "saved"})
    keeps = model.fit(rows, "keep_s", {"keep_s": "kept_calls", "keep_trial_s": "kept"})
    return model.HeadCosts(**reports, **saves, **keeps)


def check_head(points: list[Point], costs: model.HeadCosts) -> list[Point]:
    """Return every search with the model's work of its head, given the number of saves and copies."""
    checked = []
    for point in points:
        said = model.head_share(
            costs, point["num_trials"], point["num_reports"], point["save_calls"], point["kept_calls"]
        )
        names = ("num_trials", "slots", "scheduler", "num_reports", "head_s", "save_calls", "kept_calls")
        checked.append({name: point[name] for name in names} | {
            "fitted": point["num_trials"] in FITTED["trials"] and point["slots"] == SLOTS,
            "said_head_s": said, "error": said / point["head_s"] - 1,
        })  # fmt: skip
    return checked


def choosing(points: list[Point]) -> list[Point]:
    """Return the seconds of asha's choice per report: a constant part and a quadratic one."""
    rows = [point | {"pairs": point["num_reports"] * point["num_trials"] ** 2} for point in points]
    seen = [row for row in rows if row["num_trials"] in FITTED["trials"]]
    costs = model.fit(seen, "choose_s", {"report_s": "num_reports", "pair_s": "pairs"})
    checked = []
    for point in points:
        measured = point["choose_s"] / point["num_reports"]
        said = costs["report_s"] + costs["pair_s"] * point["num_trials"] ** 2
        checked.append({
            "num_trials": point["num_trials"], "fitted": point["num_trials"] in FITTED["trials"],
            "choose_s_per_report": measured, "said": said, "error": said / measured - 1,
        })  # fmt: skip
    return [*checked, {"num_trials": 1000, "said": costs["report_s"] + costs["pair_s"] * 1000**2}]


def predict_dqn(costs: model.Costs, parts: dict[str, float]) -> list[Point]:
    """Return the throughput and waiting of 10, 100 and 1,000 runners, on the measured simulator."""
    step_bytes = parts["of it arrays, 4 numbers, 16 x 64"]
    rollout_bytes = (parts["bytes per env step, 4 numbers, 16 x 64"] - step_bytes) * 16 * 64
    predicted = []
    for intensity, length in PREDICTED:
        for number in (10, 100, 1000):
            setting = model.Setting(number, 64, length, 0.02, intensity / BATCH_SIZE)
            said = model.simulate(costs, setting)
            spent = {
                "updates": said.updates_per_s * costs.update_s,
                "fetching": said.rollouts_per_s * costs.fetch_s,
                "adding": said.env_steps_per_s * costs.env_step_s,
                "driver": said.driver_share,
            }
            limit = (
                "runners"
                if said.runners_idle_share < RUNNERS_BUSY
                else max(spent, key=lambda name: spent[name])
            )
            predicted.append({
                "training_intensity": intensity, "length": length, "num_runners": number, **vars(said), "limit": limit,
                "ceiling_env_steps_per_s": min(model.ceilings(costs, setting).values()),
                "training_step_s": said.rollouts_per_training_step / said.rollouts_per_s,
                **{f"{name}_share": share for name, share in spent.items()},
                "in_bytes_per_s": said.rollouts_per_s * (setting.rollout_env_steps * step_bytes + rollout_bytes),
                "out_bytes_per_s": said.rollouts_per_s * parts["weights 128"],
            })  # fmt: skip
    return predicted


def predict_head(costs: model.HeadCosts) -> list[Point]:
    """Return the work of a search's head with 10, 100 and 1,000 trials, for each of REPORT_PERIODS_S."""
    predicted = []
    for number in (10, 100, 1000):
        for period_s in REPORT_PERIODS_S:
            for save_period_s in SAVE_PERIODS_S:
                forced_per_s = 1 / period_s  # if the same trial has checkpointed twice since the last save
                share = model.head_share(
                    costs, number, number / period_s, 1 / save_period_s + forced_per_s, 1.0
                )
                reports_share = model.head_share(costs, number, number / period_s, 0.0, 0.0)
                predicted.append({
                    "num_trials": number, "report_period_s": period_s, "save_period_s": save_period_s, "head_share": share,
                    "reports_share": reports_share,
                })  # fmt: skip
    return predicted


def draw(
    checked: list[Point], costs: dict[str, model.Costs], head: list[Point], head_costs: model.HeadCosts
) -> None:
    """Draw measured points over the model's lines; points that the fit used are filled."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(15, 5.4), layout="constrained")
    numbers = sorted({round(10 ** (k / 12)) for k in range(37)})
    shown = [(8.0, 16, "tab:red"), (1.0, 16, "tab:blue"), (1.0, 1, "tab:green")]
    for intensity, length, color in shown:
        label = f"training_intensity {intensity:g}, rollouts of {length} step{'s' * (length > 1)}"
        lines = [
            model.simulate(costs["real"], model.Setting(n, 64, length, 0.02, intensity / BATCH_SIZE))
            for n in numbers
        ]
        left.plot(numbers, [said.env_steps_per_s for said in lines], color=color, label=label)
        if length == 16:
            middle.plot(
                numbers,
                [said.runners_idle_share for said in lines],
                color=color,
                label=f"runners wait, intensity {intensity:g}",
            )
            middle.plot(
                numbers,
                [said.learner_idle_share for said in lines],
                color=color,
                ls=":",
                label=f"learner waits, intensity {intensity:g}",
            )
        for point in checked:
            if (point["num_envs"], point["step_s"], point["training_intensity"], point["length"]) != (
                64,
                0.02,
                intensity,
                length,
            ):
                continue
            style = {"marker": "o" if point["kind"] == "real" else "s", "color": color}
            style["fillstyle"] = "full" if point["fitted"] else "none"
            if point["cpu_share"] >= FULL:
                style["marker"] = "x"
            left.plot(point["num_runners"], point["env_steps_per_s"], **style)
            if length == 16:
                middle.plot(point["num_runners"], point["env_runners_idle_share"], **style)
                middle.plot(point["num_runners"], point["learner_idle_share"], **style | {"marker": "^"})
    left.set(xscale="log", yscale="log", xlabel="env runners", ylabel="env steps/s", title="DQN's throughput")
    middle.set(
        xscale="log", xlabel="env runners", ylabel="share of the time", title="Who waits", ylim=(-0.03, 1.03)
    )
    trials = [10, 20, 50, 100, 200, 500, 1000]
    for period_s, save_period_s, color in (
        (50.0, 1.0, "tab:red"),
        (50.0, 10.0, "tab:orange"),
        (10.0, 10.0, "tab:purple"),
    ):
        rates = 1 / save_period_s + 1 / period_s
        shares = [model.head_share(head_costs, n, n / period_s, rates, 1.0) for n in trials]
        right.plot(
            trials,
            shares,
            color=color,
            label=f"a report every {period_s:g} s, state saved every {save_period_s:g} s",
        )
    right.axhline(1, color="black", lw=0.8)
    right.set(
        xscale="log",
        yscale="log",
        xlabel="trials, all running",
        ylabel="share of its time",
        title="What the head of a search works (model)",
    )
    for axes in (left, middle, right):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.14))
    FIGURE.parent.mkdir(exist_ok=True)
    figure.savefig(FIGURE, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    found = json.loads((RESULTS / "scaling.json").read_text())
    points = [point for part in ("runners", "emulated") for point in found[part]["points"]]
    dqn = [point for point in points if point["algorithm"] == "dqn"]
    reinforce = [point for point in points if point["algorithm"] == "reinforce"]
    trials = found["trials"]["points"]

    parts = {part["name"]: part["value"] for part in found["parts"]["points"]}
    env_step_s = parts["add 1,024 steps to the replay, network 128"] / 1024
    costs = fit_dqn([point for point in dqn if is_fitted(point)], env_step_s)
    checked = check_dqn(dqn, costs)
    batch_costs, batch_checked = {}, []
    for kind in ("real", "emulated"):
        mine = [point for point in reinforce if point["kind"] == kind]
        batch_costs[kind] = fit_reinforce([point for point in mine if is_fitted(point)])
        batch_checked += check_reinforce(mine, batch_costs[kind])
    chosen = choosing([one for one in trials if one["scheduler"] == "asha"])
    trials = [one for one in trials if one["scheduler"] == "fifo"]
    head_costs = fit_head(
        [one for one in trials if one["num_trials"] in FITTED["trials"] and one["slots"] == SLOTS]
    )
    head_checked = check_head(trials, head_costs)
    record = {
        "fitted": FITTED,
        "dqn_costs": {kind: vars(one) for kind, one in costs.items()},
        "dqn": checked,
        "reinforce_costs": {kind: vars(one) for kind, one in batch_costs.items()},
        "reinforce": batch_checked,
        "head_costs": vars(head_costs),
        "head": head_checked,
        "asha": chosen,
        "predicted_dqn": predict_dqn(costs["real"], parts),
        "predicted_head": predict_head(head_costs),
    }
    (RESULTS / "scaling_model.json").write_text(json.dumps(record, indent=1) + "\n")
    for name in ("dqn", "reinforce", "head", "asha", "predicted_dqn", "predicted_head"):
        print(f"\n{name}")
        say(record[name])
    for name in ("dqn_costs", "reinforce_costs", "head_costs"):
        print(f"\n{name}: {json.dumps(record[name], indent=1)}")
    for name in ("dqn", "reinforce", "head"):
        errors = [
            abs(row["error"])
            for row in record[name]
            if not row["fitted"] and row.get("cpu_share", 0.0) < FULL
        ]
        middle, largest = statistics.median(errors), max(errors)
        print(
            f"{name}: {len(errors)} points that were not fitted, error {middle:.1%} (median), {largest:.1%} (largest)"
        )
    draw(checked, costs, head_checked, head_costs)


def say(rows: list[Point]) -> None:
    """Print a table."""
    print(" | ".join(rows[0]))
    for row in rows:
        print(
            " | ".join(f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values())
        )


if __name__ == "__main__":
    main()
