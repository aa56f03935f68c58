"""ASHA's decisions, by hand; the trials are stand-ins with just what a scheduler looks at."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.experiment.schedulers import ASHA, SCHEDULERS
from workflows.experiment.search import SearchFlags
from workflows.experiment.searchers import SEARCHERS

BASELINE = {"lr": 1.0}


class Controller:
    """Tune's controller, as far as a scheduler sees it."""

    def __init__(self, scheduler: ASHA, *trials: Any) -> None:
        self.scheduler, self.trials = scheduler, list(trials)
        self._tune_controller, self.saved = self, set[str]()
        for trial in trials:
            scheduler.on_trial_add(self, trial)

    def get_trials(self) -> list[Any]:
        return self.trials

    def stop_trial(self, trial: Any) -> None:
        trial.status = "TERMINATED"

    def _mark_trial_to_checkpoint(self, trial: Any) -> None:
        self.saved.add(trial.trial_id)

    def report(self, trial: Any, iteration: int, fid: float) -> str:
        """Let a trial report, and do what is decided."""
        trial.last_result = {"training_iteration": iteration, "fid": fid}
        decision = self.scheduler.on_trial_result(self, trial, trial.last_result)
        trial.status = {"CONTINUE": "RUNNING", "PAUSE": "PAUSED", "STOP": "TERMINATED"}[decision]
        return decision


def make_trial(
    name: str,
    lr: float = 2.0,
    status: str = "RUNNING",
    folder: Path | None = None,
    last: dict[str, Any] | None = None,
) -> Any:
    trial = SimpleNamespace(trial_id=name, config={"lr": lr}, status=status, last_result=last or {})
    trial.storage = SimpleNamespace(trial_fs_path=str(folder))
    trial.is_finished = lambda: trial.status in ("TERMINATED", "ERROR")
    return trial


def asha(mode: str = "min", num_reports: int = 8) -> ASHA:
    scheduler = ASHA(BASELINE, num_reports)
    assert scheduler.set_search_properties("fid", mode)
    return scheduler


def test_a_trial_waits_at_reports_1_2_4_until_it_is_in_the_better_half() -> None:
    a, b = make_trial("a"), make_trial("b")
    tune = Controller(asha(), a, b)
    assert tune.report(a, 1, 10.0) == "PAUSE"  # alone it is in no better half
    assert tune.scheduler.choose_trial_to_run(tune) is None
    assert a.status == "PAUSED", "b still runs, and may be worse"
    assert tune.report(b, 1, 20.0) == "PAUSE"
    assert tune.scheduler.choose_trial_to_run(tune) is a
    a.status = "RUNNING"
    assert tune.scheduler.choose_trial_to_run(tune) is None
    assert tune.report(a, 2, 9.0) == "PAUSE"  # a rung again
    assert tune.scheduler.choose_trial_to_run(tune) is None
    assert (a.status, b.status) == ("TERMINATED", "TERMINATED"), "nothing runs and nobody may go on"
    assert tune.saved == {"a", "b"}


def test_between_rungs_nobody_waits() -> None:
    a, b = make_trial("a"), make_trial("b")
    tune = Controller(asha(), a, b)
    for each, fid in ((b, 20.0), (a, 10.0)):
        tune.report(each, 1, fid)
        tune.report(each, 2, fid)
    assert tune.report(a, 3, 99.0) == "CONTINUE"


def test_those_that_have_not_begun_go_first() -> None:
    a, b, c = make_trial("a"), make_trial("b"), make_trial("c", status="PENDING")
    tune = Controller(asha(), a, b, c)
    tune.report(a, 1, 20.0)
    assert tune.report(b, 1, 10.0) == "PAUSE"
    assert tune.scheduler.choose_trial_to_run(tune) is c
    c.status = "RUNNING"
    assert tune.scheduler.choose_trial_to_run(tune) is b


def test_of_those_that_may_go_on_the_one_that_has_come_least_far_goes_first() -> None:
    trials = [make_trial(name) for name in "abcd"]
    tune = Controller(asha(), *trials)
    for number, each in enumerate(trials):
        tune.report(each, 1, float(number))
    a, b, _, _ = trials
    a.status = "RUNNING"
    assert tune.report(a, 2, 1.0) == "PAUSE"
    assert tune.scheduler.choose_trial_to_run(tune) is b


def test_the_baseline_counts_but_runs_to_its_end() -> None:
    baseline, a = make_trial("baseline", lr=1.0), make_trial("a")
    tune = Controller(asha(), baseline, a)
    assert tune.report(baseline, 1, 50.0) == "CONTINUE"
    assert tune.report(a, 1, 40.0) == "CONTINUE"  # better than the baseline
    assert tune.report(baseline, 2, 30.0) == "CONTINUE"
    assert tune.report(a, 2, 35.0) == "PAUSE"  # worse
    assert tune.report(baseline, 8, 50.0) == "STOP"  # its end
    assert tune.scheduler.choose_trial_to_run(tune) is None
    assert a.status == "TERMINATED"


def test_more_can_be_better() -> None:
    a, b = make_trial("a"), make_trial("b")
    tune = Controller(asha("max"), a, b)
    tune.report(a, 1, 10.0)
    assert tune.report(b, 1, 20.0) == "CONTINUE"


@given(st.lists(st.floats(0, 100), min_size=2, max_size=12, unique=True), st.integers(1, 20))
def test_every_search_ends_and_each_rung_passes_on_half_and_the_best_with_them(
    fids: list[float], num_reports: int
) -> None:
    """One slot, scores that do not change: those that get past a rung are half of those that reached it."""
    trials = [make_trial(f"t_{number}", status="PENDING") for number in range(len(fids))]
    tune = Controller(asha(num_reports=num_reports), *trials)
    while (chosen := tune.scheduler.choose_trial_to_run(tune)) is not None:
        chosen.status = "RUNNING"
        while chosen.status == "RUNNING":
            tune.report(
                chosen, chosen.last_result.get("training_iteration", 0) + 1, fids[trials.index(chosen)]
            )
    assert {trial.status for trial in trials} == {"TERMINATED"}
    reached = [trial.last_result["training_iteration"] for trial in trials]
    at_rung, rung = len(trials), 1
    while rung < num_reports:
        assert sum(report > rung for report in reached) == at_rung // 2
        at_rung, rung = at_rung // 2, 2 * rung
    assert reached[fids.index(min(fids))] == max(reached)


def test_a_restored_trial_brings_its_rungs_up_to_the_last_save_and_no_further(tmp_path: Path) -> None:
    rows = [{"training_iteration": i, "fid": fid} for i, fid in ((1, 10.0), (2, 9.0), (3, 8.0))]
    (tmp_path / "result.json").write_text(
        "\n".join(json.dumps(row) for row in rows) + '\n{"training_iteration": 4, "fi'
    )
    old, late = make_trial("old", folder=tmp_path, last=rows[0]), make_trial("late")
    tune = Controller(asha(), old, late)
    assert tune.report(late, 1, 11.0) == "PAUSE"  # the rung of report 1 is remembered
    other = make_trial("other")
    tune.trials.append(other)
    assert tune.report(other, 1, 9.5) == "CONTINUE"
    assert tune.report(other, 2, 9.4) == "PAUSE"  # report 2 came after the last save: nobody has been there


def test_a_restored_trial_whose_results_were_lost_counts_with_its_last(tmp_path: Path) -> None:
    old, late = (
        make_trial("old", folder=tmp_path, last={"training_iteration": 3, "fid": 8.0}),
        make_trial("late"),
    )
    tune = Controller(asha(), old, late)
    assert tune.report(old, 4, 7.0) == "PAUSE"
    assert tune.report(late, 1, 11.0) == "PAUSE"
    assert tune.scheduler.choose_trial_to_run(tune) is None


@pytest.mark.parametrize(("flag", "table"), [("scheduler", SCHEDULERS), ("searcher", SEARCHERS)])
def test_every_entry_of_the_tables_is_a_choice_of_its_flag(flag: str, table: dict[str, Any]) -> None:
    assert set(get_type_hints(SearchFlags)[flag].__args__) == set(table)
