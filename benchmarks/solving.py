"""Time the training until 20 greedy CartPole-v1 episodes on new seeds average 475. One rule for all.

The clock stops while those episodes are played, and while anything is built. The benchmarks *_time_to_solve
use it."""

from __future__ import annotations

import logging
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, EPISODE_RETURN_MEAN, NUM_ENV_STEPS_SAMPLED_LIFETIME

Act = Callable[[np.ndarray], np.ndarray]
"""Greedy actions [N] for observations [N, 4]."""

ENV = "CartPole-v1"
SOLVED, NUM_EPISODES, WARM_UP_STEPS = 475.0, 20, 2000


class Judge:
    """Keeps the clock, and decides when training stops."""

    def __init__(self, seed: int, limit_s: float, max_env_steps: float = float("inf")) -> None:
        self._rng = np.random.default_rng(
            np.random.SeedSequence(seed, spawn_key=(475,))
        )  # no training uses these seeds
        self._limit_s, self._max_env_steps = limit_s, max_env_steps
        self._since = 0.0
        self.seconds, self.env_steps, self.greedy_return, self.solved = 0.0, 0, 0.0, False
        self.best_greedy_return = self.best_training_return = 0.0
        self.notes: dict[str, float] = {}
        """Further entries of the run's record."""

    def start(self) -> None:
        self._since = time.perf_counter()

    def stops(self, env_steps: int, act: Act, training_return: float = 0.0) -> bool:
        """Return whether training is over: solved, or out of time."""
        self.seconds += time.perf_counter() - self._since
        self.env_steps = env_steps
        self.greedy_return = greedy_return(act, int(self._rng.integers(2**31)))
        self.best_greedy_return = max(self.best_greedy_return, self.greedy_return)
        self.best_training_return = max(self.best_training_return, training_return)
        self.solved = self.greedy_return >= SOLVED and self.seconds <= self._limit_s
        self._since = time.perf_counter()
        return self.solved or self.seconds >= self._limit_s or env_steps >= self._max_env_steps


@dataclass(frozen=True)
class Contender:
    train: Callable[[int, Judge], None]
    """Trains from a seed until the judge stops it."""
    limit_s: float
    """Largest number of seconds of training; an unsolved run counts as this."""
    num_seeds: int
    """It trains from 0, 1, ..."""


def greedy_return(act: Act, seed: int) -> float:
    """Return the mean return of the first episode of each of 20 environments."""
    envs = gym.make_vec(ENV, NUM_EPISODES, vectorization_mode=gym.VectorizeMode.VECTOR_ENTRY_POINT)
    obs, _ = envs.reset(seed=seed)
    playing, total = np.ones(NUM_EPISODES, bool), 0.0
    while playing.any():
        obs, rewards, terminated, truncated, _ = envs.step(act(obs))
        total += float(rewards[playing].sum())
        playing &= ~(terminated | truncated)
    envs.close()
    return total / NUM_EPISODES


@contextmanager
def built(config: AlgorithmConfig) -> Iterator[Algorithm]:
    """Build the algorithm; at the end stop it and remove its files."""
    logging.getLogger("ray.rllib").setLevel(logging.ERROR)  # RLlib warns about its own default
    algo = config.build_algo()
    try:
        yield algo
    finally:
        algo.stop()
        shutil.rmtree(algo.logdir, ignore_errors=True)


def train_on_rllib(config: AlgorithmConfig, seed: int, judge: Judge, check_period: int) -> None:
    """Train with the learner in this process; an iteration has about `check_period` steps."""
    config.learners(num_learners=0).debugging(seed=seed).reporting(
        min_sample_timesteps_per_iteration=check_period
    )
    with built(config) as algo:
        (found,) = algo.learner_group.foreach_learner(lambda learner: learner.module[DEFAULT_MODULE_ID])
        module = found.get()

        def act(obs: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                out = module.forward_inference({Columns.OBS: torch.from_numpy(obs)})
            return (
                out[Columns.ACTIONS]
                if Columns.ACTIONS in out
                else out[Columns.ACTION_DIST_INPUTS].argmax(dim=1)
            ).numpy()

        judge.start()
        while True:
            of_runners = algo.train()[ENV_RUNNER_RESULTS]
            if judge.stops(
                int(of_runners[NUM_ENV_STEPS_SAMPLED_LIFETIME]),
                act,
                float(of_runners.get(EPISODE_RETURN_MEAN, 0.0)),
            ):
                break


def time_to_solve(contenders: dict[str, Contender], decimals: int = 1) -> dict[str, list[dict[str, Any]]]:
    """Return each contender's runs: all train with a seed before the next; the first is not measured."""
    for contender in contenders.values():
        contender.train(
            contender.num_seeds, Judge(contender.num_seeds, contender.limit_s, max_env_steps=WARM_UP_STEPS)
        )
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in contenders}
    for seed in range(max(contender.num_seeds for contender in contenders.values())):
        for name, contender in contenders.items():
            if seed < contender.num_seeds:
                runs[name].append(_run(name, contender, seed, decimals))
    return runs


def _run(name: str, contender: Contender, seed: int, decimals: int) -> dict[str, Any]:
    judge = Judge(seed, contender.limit_s)
    contender.train(seed, judge)
    assert torch.get_num_threads() == 1, f"{name} has set torch's threads to {torch.get_num_threads()}"
    seconds = judge.seconds if judge.solved else contender.limit_s
    ended = "solved" if judge.solved else "NOT SOLVED, counts as the limit"
    figures = f"{seconds:6.{decimals}f} s, {judge.env_steps:>7,} env steps, greedy {judge.greedy_return:5.1f}"
    print(f"seed {seed}: {name:<5} {figures}: {ended}", flush=True)
    return {
        "seed": seed,
        "seconds": seconds,
        "solved": judge.solved,
        "env_steps": judge.env_steps,
        "env_steps_per_s": judge.env_steps / judge.seconds,
        "greedy_return": judge.greedy_return,
        **judge.notes,
    }


def summarize(
    contenders: dict[str, Contender], runs: dict[str, list[dict[str, Any]]], decimals: int = 1
) -> dict[str, Any]:
    """Print each contender's median and ratio to ours; return these and the numbers of solved seeds."""
    medians = {name: statistics.median([row["seconds"] for row in rows]) for name, rows in runs.items()}
    for name, rows in runs.items():
        times = ", ".join(f"{row['seconds']:.{decimals}f}" + "*" * (not row["solved"]) for row in rows)
        ratio = f"{medians[name] / medians['ours']:5.1f} times ours" if "ours" in medians else ""
        print(f"{name:<5} median {medians[name]:6.{decimals}f} s  {ratio}  ({times})")
    unsolved = sorted(
        {contenders[name].limit_s for name, rows in runs.items() if not all(row["solved"] for row in rows)}
    )
    if unsolved:
        print(f"* not solved within {' or '.join(f'{limit:g}' for limit in unsolved)} s, which it counts as")
    return {
        **{f"{name}_median": median for name, median in medians.items()},
        **{
            f"{name}_per_ours": medians[name] / medians["ours"]
            for name in medians
            if "ours" in medians and name != "ours"
        },
        **{f"{name}_num_solved": sum(row["solved"] for row in rows) for name, rows in runs.items()},
    }


def rule(check_period: int) -> str:
    return f"{NUM_EPISODES} fresh greedy episodes average {SOLVED:g} or more, looked at every {check_period} env steps"
