"""Which hyperparameters a search's score depends on, by Optuna; and whether there are enough trials to say."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np
import pandas as pd

from workflows.results import Run
from workflows.runs.tables import is_finite

TRIALS_PER_HYPERPARAMETER = 10
MOST_TRIALS = 1000
"""More are not looked at: shuffled and all, Optuna would take minutes."""
SHUFFLES = 20
_MOST_CHOICES = 6


def of(run: Run, names: list[str]) -> tuple[dict[str, float], str]:
    """Return the importances of hyperparameters, greatest first, summing to 1 (empty if nothing can be said), and what they mean or lack.

    By PED-ANOVA (Watanabe+ 2023, arXiv:2304.10255): how much the distribution of each hyperparameter differs between the best tenth of the
    trials and all. Trials are compared at the last report that half of them came to: later scores are only of those that were let go on.
    Importances sum to 1 even where nothing matters, so they are held against those of the same trials with their scores shuffled.
    """
    needed = TRIALS_PER_HYPERPARAMETER * len(names)
    scores, iteration = _scores(run)
    few = f"{len(scores)} trials can be compared; to say anything about {len(names)} hyperparameters takes about {needed}."
    if len(scores) < needed:
        return {}, f"Too few trials for importances to mean anything: {few}"
    if scores.nunique() < 2:
        return {}, "All trials have the same score: it depends on no hyperparameter."
    scores = scores[:MOST_TRIALS]
    trials = run.trials.set_index("trial_id").loc[scores.index]
    columns = {name: trials[f"config/{name}"] for name in names}
    weights = _ped_anova(columns, scores, run.mode)
    generator = np.random.default_rng(0)
    shuffled = [
        _ped_anova(columns, scores.sample(frac=1, random_state=generator), run.mode) for _ in range(SHUFFLES)
    ]
    by_chance = [name for name in names if weights[name] <= max(one[name] for one in shuffled)]
    compared = f"{len(trials)} trials by their score at report {iteration}"
    if len(by_chance) == len(names):
        return (
            {},
            f"No importance is greater than with {SHUFFLES} shuffles of the scores ({compared}): too few trials, or "
            "what was searched makes no difference.",
        )
    chance = (
        f" No greater than with {SHUFFLES} shuffles of the scores: {', '.join(by_chance)}."
        if by_chance
        else ""
    )
    total = sum(weights.values())
    meaning = f"Optuna's PED-ANOVA importances, of {compared}: how the best tenth differs from all.{chance}"
    return {
        name: weight / total for name, weight in sorted(weights.items(), key=lambda item: -item[1])
    }, meaning


def _scores(run: Run) -> tuple[pd.Series, int]:
    """Return the scores at the last report that at least half of the trials with a score came to, by trial_id, and that report's number."""
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
    """Return the range that values were drawn from, as far as they show it: a few are choices, many a range, by decades if it is wide."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if not is_finite(values).all() or values.nunique() <= _MOST_CHOICES:
        return CategoricalDistribution(sorted({str(value) for value in values}))
    low, high = float(values.min()), float(values.max())
    return FloatDistribution(low, high, log=bool(low > 0 and high > 10 * low))


def _value(value: Any, distribution: Any) -> Any:
    return str(value) if hasattr(distribution, "choices") else float(value)
