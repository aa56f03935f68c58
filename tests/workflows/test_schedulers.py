"""ASHA's decisions, by hand; the trials are stand-ins with just what a scheduler looks at."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_type_hints

from workflows.common.schedulers import ASHA, SCHEDULERS
from workflows.common.search import SearchFlags
from workflows.common.searchers import SEARCHERS

BASELINE = {"lr": 1.0}


def trial(name: str, lr: float = 2.0, folder: Path | None = None, last: dict[str, Any] | None = None) -> Any:
    return SimpleNamespace(trial_id=name, config={"lr": lr}, last_result=last or {}, storage=SimpleNamespace(trial_fs_path=str(folder)))


def asha() -> ASHA:
    scheduler = ASHA(BASELINE, num_reports=8)
    scheduler.set_search_properties("fid", "min")
    return scheduler


def report(scheduler: ASHA, trial: Any, iteration: int, fid: float) -> str:
    return scheduler.on_trial_result(None, trial, {"training_iteration": iteration, "fid": fid})


def test_the_worse_half_stops_at_reports_1_2_4_and_never_between() -> None:
    scheduler = asha()
    good, bad = trial("good"), trial("bad")
    for each in (good, bad):
        scheduler.on_trial_add(None, each)
    assert report(scheduler, good, 1, 10.0) == "CONTINUE"
    assert report(scheduler, good, 2, 9.0) == "CONTINUE"
    assert report(scheduler, good, 3, 99.0) == "CONTINUE"  # no rung there
    assert report(scheduler, bad, 1, 20.0) == "STOP"
    assert report(scheduler, good, 8, 1.0) == "STOP"  # its end


def test_the_baseline_counts_but_runs_to_its_end() -> None:
    scheduler = asha()
    baseline, good, bad = trial("baseline", lr=1.0), trial("good"), trial("bad")
    for each in (baseline, good, bad):
        scheduler.on_trial_add(None, each)
    assert report(scheduler, good, 1, 10.0) == "CONTINUE"
    assert report(scheduler, baseline, 1, 50.0) == "CONTINUE"  # any other would stop
    assert report(scheduler, bad, 1, 40.0) == "STOP"  # the median of 10 and 50 is 30
    assert report(scheduler, baseline, 2, 50.0) == "CONTINUE"
    assert report(scheduler, baseline, 8, 50.0) == "STOP"


def test_a_restored_trial_brings_its_rungs_up_to_the_last_save_and_no_further(tmp_path: Path) -> None:
    rows = [{"training_iteration": i, "fid": fid} for i, fid in ((1, 10.0), (2, 9.0), (3, 8.0))]
    (tmp_path / "result.json").write_text("\n".join(json.dumps(row) for row in rows) + '\n{"training_iteration": 4, "fi')
    scheduler = asha()
    scheduler.on_trial_add(None, trial("old", folder=tmp_path, last=rows[0]))
    late = trial("late")
    scheduler.on_trial_add(None, late)
    assert report(scheduler, late, 1, 11.0) == "STOP"  # the rung of report 1 is remembered
    other = trial("other")
    scheduler.on_trial_add(None, other)
    assert report(scheduler, other, 1, 9.5) == "CONTINUE"
    assert report(scheduler, other, 2, 9.4) == "CONTINUE"  # report 2 came after the last save: it will be made, and judged, again


def test_every_entry_of_the_tables_is_a_choice_of_its_flag() -> None:
    hints = get_type_hints(SearchFlags)
    assert set(hints["scheduler"].__args__) == set(SCHEDULERS)
    assert set(hints["searcher"].__args__) == set(SEARCHERS)
