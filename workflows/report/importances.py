"""Which hyperparameters a search's score depends on, by Optuna, and whether the trials can tell."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np
import pandas as pd

from workflows.results import Run
from workflows.runs.tables import is_finite

TRIALS_PER_HYPERPARAMETER = 10
MAX_TRIALS = 1000
"""Most trials that are compared: with all shuffles, Optuna would take minutes for more."""
SHUFFLES = 20
_MAX_CHOICES = 6


def of(run: Run, names: list[str]) -> tuple[dict[str, float], str]:
    """Return the importances of hyperparameters, greatest first, and a sentence on what they mean or lack.

    Importances sum to 1; they are empty where nothing can be said. They are PED-ANOVA's (Watanabe+ 2023,
    arXiv:2304.10255): how far a hyperparameter's distribution in the best tenth of the trials is from all.
    Trials compare at the last report that half of them reached: only the better ones have later scores.
    Even where nothing matters they sum to 1, so each is compared with those of shuffled scores.
    """
    needed = TRIALS_PER_HYPERPARAMETER * len(names)
    scores, iteration = _scores(run)
    if len(scores) < needed:
        few = f"{len(scores)} trials can be compared; {len(names)} hyperparameters need about {needed}."
        return {}, f"Too few trials for importances to mean anything: {few}"
    if scores.nunique() < 2:
        return {}, "All trials have the same score: it depends on no hyperparameter."
    scores = scores[:MAX_TRIALS]
    trials = run.trials.set_index("trial_id").loc[scores.index]
    columns = {name: trials[f"config/{name}"] for name in names}
    weights = _ped_anova(columns, scores, run.mode)
    shuffled = _of_shuffled(columns, scores, run.mode)
    by_chance = [name for name in names if weights[name] <= shuffled[name]]
    compared = f"{len(trials)} trials by their score at report {iteration}"
    than_shuffled = f"greater than with {SHUFFLES} shuffles of the scores"
    if len(by_chance) == len(names):
        reason = "too few trials, or what was searched makes no difference"
        return {}, f"No importance is {than_shuffled} ({compared}): {reason}."
    chance = f" Not {than_shuffled}: {', '.join(by_chance)}." if by_chance else ""
    meaning = f"Optuna's PED-ANOVA importances, of {compared}: how the best tenth differs from all.{chance}"
    total = sum(weights.values())
    greatest_first = sorted(weights.items(), key=lambda item: -item[1])
    return {name: weight / total for name, weight in greatest_first}, meaning


def _of_shuffled(columns: dict[str, pd.Series], scores: pd.Series, mode: str) -> dict[str, float]:
    """Return the greatest importance of each hyperparameter over shuffles of the scores."""
    generator = np.random.default_rng(0)
    shuffled = []
    for _ in range(SHUFFLES):
        shuffled.append(_ped_anova(columns, scores.sample(frac=1, random_state=generator), mode))
    return {name: max(one[name] for one in shuffled) for name in columns}


def _scores(run: Run) -> tuple[pd.Series, int]:
    """Return the scores at the last report that half of the scored trials reached, and its number."""
    if run.metric not in run.history:
        return pd.Series(dtype=float), 0
    finite = run.history[is_finite(run.history[run.metric])]
    counts = finite.groupby("iteration")["trial_id"].nunique()
    common = counts[counts >= finite["trial_id"].nunique() / 2]
    if common.empty:
        return pd.Series(dtype=float), 0
    iteration = int(common.index.max())
    return finite[finite["iteration"] == iteration].set_index("trial_id")[run.metric], iteration


def _ped_anova(columns: dict[str, pd.Series], scores: pd.Series, mode: str) -> dict[str, float]:
    import optuna

    optuna.logging.set_verbosity(logging.WARNING)
    distributions = {name: _distribution(values) for name, values in columns.items()}
    study = optuna.create_study(direction="minimize" if mode == "min" else "maximize")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        for i, score in enumerate(scores):
            params = {name: _value(values.iloc[i], distributions[name]) for name, values in columns.items()}
            study.add_trial(
                optuna.trial.create_trial(params=params, distributions=distributions, value=float(score))
            )
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        return dict(optuna.importance.get_param_importances(study, evaluator=evaluator, normalize=False))


def _distribution(values: pd.Series) -> Any:
    """Return the distribution that values suggest: few are choices, many a range, on a log scale if wide."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if not is_finite(values).all() or values.nunique() <= _MAX_CHOICES:
        return CategoricalDistribution(sorted({str(value) for value in values}))
    low, high = float(values.min()), float(values.max())
    return FloatDistribution(low, high, log=bool(low > 0 and high > 10 * low))


def _value(value: Any, distribution: Any) -> Any:
    return str(value) if hasattr(distribution, "choices") else float(value)
