"""Which trials go on: Tune's schedulers, by the names of `--scheduler`.

The baseline (the preset's trial) is never stopped early, so that every search ends with it to compare against; and a resumed search takes
up the rungs where it left them, which Ray's own schedulers forget.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from workflows.common import results


class ASHA(AsyncHyperBandScheduler):
    """Asynchronous successive halving (Li+ 2018, arXiv:1810.05934): at reports 1, 2, 4, … the worse half of the trials stops."""

    def __init__(self, baseline: dict[str, Any], num_reports: int) -> None:
        super().__init__(time_attr="training_iteration", max_t=num_reports, grace_period=1, reduction_factor=2)
        self._baseline = baseline

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Take a trial in; one that was restored brings the results it had when the search was last saved."""
        super().on_trial_add(tune_controller, trial)
        reports = trial.last_result.get("training_iteration", 0)
        if reports:
            for result in results.read_reports(trial.storage.trial_fs_path):
                if result["training_iteration"] <= reports:
                    super().on_trial_result(tune_controller, trial, result)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Record the result and decide; the baseline counts in every rung but is never stopped at one."""
        decision: str = super().on_trial_result(tune_controller, trial, result)
        if trial.config == self._baseline and result["training_iteration"] < self._max_t:
            return str(TrialScheduler.CONTINUE)
        return decision


SCHEDULERS: dict[str, Callable[[dict[str, Any], int], TrialScheduler]] = {
    "asha": ASHA,
    "fifo": lambda baseline, num_reports: FIFOScheduler(),
}
"""name -> scheduler of (the baseline's config, reports of a full trial)."""
