"""The programs that write run folders, one row each: what they train, what they measure, what is drawn.

A row names code by `module:attribute`, so reading this table imports nothing.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import Any, Literal

Mode = Literal["min", "max"]
"""Whether the least or the greatest value of a metric is its best."""

RETURN = "env_runners/episode_return_mean"
GREEDY_RETURN = "evaluation/env_runners/episode_return_mean"
ENV_STEPS = "num_env_steps_sampled_lifetime"
"""Columns of trainings, under RLlib's names."""

OF_SAMPLES: dict[str, Mode] = {
    "fid_mnist": "min",
    "classifier_score": "max",
    "class_balance": "max",
    "confidence": "max",
}
OF_LABELLED_SAMPLES: dict[str, Mode] = OF_SAMPLES | {"conditional_accuracy": "max"}
OF_LIKELIHOOD: dict[str, Mode] = {"elbo": "max", "nll": "min", "reconstruction": "min"}
OF_TRAININGS: dict[str, Mode] = {"episode_return_mean": "max", "env_steps_per_s": "max"}
OF_SPEED: dict[str, Mode] = {"updates_per_s": "max"}
SEARCH_FIGURES = ("curves", "parallel", "importances", "scatter")
TRAINING_FIGURES = ("returns", "throughput", "waiting", "learning")


@dataclass(frozen=True)
class Program:
    """What one workflow trains and measures."""

    name: str
    kind: Literal["search", "training"]
    """A search has many trials of one trainer; a training has one trial of an RLlib algorithm."""
    options: str = ""
    """The dataclass of hyperparameters."""
    trains: str = ""
    """A search's trainer class, or a training's RLlib configuration class."""
    draws: str = ""
    """The module whose `samples` draws digits from a trained model; of searches."""
    metric: str = ""
    """What the program improves by default."""
    metrics: dict[str, Mode] = field(default_factory=dict)
    """Metrics that are better high or low, by the last part of their column's name."""
    columns: tuple[str, ...] = ()
    """Metrics in the summary's table."""
    x: str = "updates"
    """The column that progress is counted in."""
    figures: tuple[str, ...] = SEARCH_FIGURES
    """Charts of the report, in order."""
    goals: dict[str, tuple[str, float]] = field(default_factory=dict)
    """Environment -> the name and the value of a line in the chart of returns."""

    @property
    def mode(self) -> Mode:
        """Whether the least or the greatest value of `metric` is its best."""
        mode = self.mode_of(self.metric)
        assert mode is not None
        return mode

    def mode_of(self, column: str) -> Mode | None:
        """Return whether the least or the greatest value of a column is its best; None where neither is.

        The last part of a column's name counts: `evaluation/env_runners/episode_return_mean` is a return.
        """
        return self.metrics.get(column.rpartition("/")[2])


_ROWS = (
    Program(
        name="tune_gan",
        kind="search",
        options="algorithms.gan.options:GANOptions",
        trains="algorithms.gan.trainer:GANTrainer",
        draws="algorithms.gan.sampling",
        metric="fid_mnist",
        metrics=OF_SAMPLES | OF_SPEED,
        columns=("fid_mnist", "classifier_score", "class_balance", "confidence"),
    ),
    Program(
        name="tune_cvae",
        kind="search",
        options="algorithms.cvae.options:CVAEOptions",
        trains="algorithms.cvae.trainer:CVAETrainer",
        draws="algorithms.cvae.sampling",
        metric="elbo",
        metrics=OF_LIKELIHOOD | OF_LABELLED_SAMPLES | OF_SPEED,
        columns=("elbo", "nll", "reconstruction", "kl", "active_units", "conditional_accuracy", "fid_mnist"),
    ),
    Program(
        name="train_dqn",
        kind="training",
        options="algorithms.dqn.options:DQNOptions",
        trains="algorithms.dqn:DQNConfig",
        metric=GREEDY_RETURN,
        metrics=OF_TRAININGS | OF_SPEED,
        x=ENV_STEPS,
        figures=TRAINING_FIGURES,
        goals={"CartPole-v1": ("the reference goal", 300.0)},
    ),
    Program(
        name="train_reinforce",
        kind="training",
        options="algorithms.reinforce.options:REINFORCEOptions",
        trains="algorithms.reinforce:REINFORCEConfig",
        metric=GREEDY_RETURN,
        metrics=OF_TRAININGS | OF_SPEED,
        x=ENV_STEPS,
        figures=TRAINING_FIGURES,
    ),
)
PROGRAMS = {row.name: row for row in _ROWS}


def program_of(record: dict[str, Any]) -> Program:
    """Return the program that wrote a record; an unknown one gets a row that fits any run of its kind."""
    name = str(record.get("program", "run"))
    if name in PROGRAMS:
        return PROGRAMS[name]
    metric = str(record.get("metric", ""))
    mode: Mode = "max" if record.get("mode") == "max" else "min"
    metrics = (
        OF_LIKELIHOOD | OF_LABELLED_SAMPLES | OF_TRAININGS | OF_SPEED | {metric.rpartition("/")[2]: mode}
    )
    if "baseline" in record:
        return Program(name, "search", metric=metric, metrics=metrics)
    return Program(name, "training", metric=metric, metrics=metrics, x=ENV_STEPS, figures=TRAINING_FIGURES)


def attribute(path: str) -> Any:
    """Return what `module:attribute` names, or the module if it names no attribute."""
    module, _, name = path.partition(":")
    found = importlib.import_module(module)
    return getattr(found, name) if name else found
