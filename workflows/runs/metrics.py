"""Which way a metric is better. A count, a time, or a loss that falls as its opponent fails, is better neither way and not here."""

from __future__ import annotations

from typing import Literal

Mode = Literal["min", "max"]

MODES: dict[str, Mode] = {
    "fid_mnist": "min",
    "classifier_score": "max",
    "class_balance": "max",
    "confidence": "max",
    "conditional_accuracy": "max",
    "elbo": "max",
    "nll": "min",
    "reconstruction": "min",
    "episode_return_mean": "max",
    "env_steps_per_s": "max",
    "updates_per_s": "max",
}
"""By the last part of a column's name: `evaluation/env_runners/episode_return_mean` is an `episode_return_mean`."""

OF_SAMPLES = ("fid_mnist", "classifier_score", "class_balance", "confidence", "conditional_accuracy")
"""Metrics of a number of samples, which the last report has more of than those before."""


def mode_of(column: str) -> Mode | None:
    """Return whether the least or the greatest value of a column is its best, or None where neither is."""
    return MODES.get(column.rpartition("/")[2])
