"""The head of a search whose trials do nothing: our Tuner with all its callbacks.

It counts processor time of the one thread in which Tune and its callbacks work. The trials' own work on the
same machine is not included. A report is a result, its checkpoint and its files."""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import idle_trainer

from algorithms import mnist
from workflows.experiment import saved_state as state
from workflows.experiment import search
from workflows.experiment.experiment import build_tuner
from workflows.experiment.ray_cluster import connected

NUM_REPORTS = 4
SLOTS, SLOTS_OF, MORE_SLOTS = 4, 100, (2, 8, 16)
"""Trials at a time; other numbers of them, and the number of trials for those."""


class Stopwatch:
    """Sums up the thread's processor time in some functions, including the functions that they call."""

    def __init__(self) -> None:
        self.sums: Counter[str] = Counter()

    @contextlib.contextmanager
    def on(self, owner: Any, function: str, name: str) -> Any:
        original = getattr(owner, function)

        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.thread_time()
            try:
                return original(*args, **kwargs)
            finally:
                self.sums[f"{name}_s"] += time.thread_time() - began  # type: ignore[assignment]
                self.sums[f"{name}_calls"] += 1

        setattr(owner, function, timed)
        try:
            yield
        finally:
            setattr(owner, function, original)


def run(num_trials: int, slots: int, scheduler: str, data: mnist.MNIST) -> dict[str, Any]:
    """Run a search; return the costs of its head."""
    from ray.tune.execution.tune_controller import TuneController

    from workflows.experiment.schedulers import ASHA

    watch = Stopwatch()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        flags = search.SearchFlags(
            num_samples=num_trials, max_updates=NUM_REPORTS, updates_per_report=1, scheduler=scheduler,
            storage_path=folder,
            cpus_per_trial=2 / slots,
        )  # fmt: skip
        run_dir = Path(folder) / "run"
        options, space = idle_trainer.IdleOptions(), idle_trainer.SPACE
        asked = search.Search(idle_trainer.PROGRAM, flags, options, space=space, load_data=lambda flags: data)
        tuner = build_tuner(asked, run_dir)
        stack.enter_context(watch.on(TuneController, "save_to_dir", "save"))
        stack.enter_context(watch.on(TuneController, "checkpoint", "checkpoint"))
        stack.enter_context(watch.on(state.StateKeeper, "on_step_end", "keep"))
        stack.enter_context(watch.on(state, "keep", "kept"))
        stack.enter_context(watch.on(ASHA, "choose_trial_to_run", "choose"))
        stack.enter_context(watch.on(TuneController, "step", "loop"))
        began, began_cpu = time.perf_counter(), time.thread_time()
        results = tuner.fit()
        took, head_s = time.perf_counter() - began, time.thread_time() - began_cpu
        state_bytes = sum(file.stat().st_size for file in run_dir.glob("experiment_state-*.json"))
        num_reports = sum(
            len(result.metrics_dataframe) for result in results if result.metrics_dataframe is not None
        )
    return {
        "num_trials": num_trials, "slots": slots, "scheduler": scheduler,
        "num_reports": num_reports, "seconds": took, "head_s": head_s,
        "state_bytes": state_bytes, **{name: float(amount) for name, amount in watch.sums.items()},
    }  # fmt: skip


def measure(numbers: list[int]) -> Iterator[dict[str, Any]]:
    """Yield a point for each search."""
    data = mnist.load("mnist-10k")
    with connected("local"):
        from ray import cloudpickle

        cloudpickle.register_pickle_by_value(idle_trainer)
        runs = [(number, SLOTS, "fifo") for number in numbers]
        runs += [(SLOTS_OF, slots, "fifo") for slots in MORE_SLOTS if SLOTS_OF in numbers]
        runs += [(number, SLOTS, "asha") for number in numbers]
        for number, slots, scheduler in runs:
            point = run(number, slots, scheduler, data)
            say(point)
            yield point


def say(point: dict[str, Any]) -> None:
    def ms(name: str) -> float:
        return point.get(f"{name}_s", 0.0) / point["num_reports"] * 1e3

    print(
        f"{point['num_trials']} trials, {point['slots']} at a time, {point['scheduler']}: "
        f"{point['num_reports']} reports, head "
        f"{ms('head'):.1f} ms a report (of it saving {ms('checkpoint'):.1f}, {point['save_calls']:.0f} times"
        f"; keeping {ms('keep'):.1f}, "
        f"{point['kept_calls']:.0f} times; choosing {ms('choose'):.2f}), "
        f"{point['state_bytes'] / 1e3:.0f} kB of state, "
        f"{point['seconds']:.1f} s",
        flush=True,
    )
