"""Seconds of training until REINFORCE solves CartPole-v1, and env steps per second with two env runners.

The peer is RLlib's VPG example.

Time       until 20 greedy episodes on new seeds average 475, checked every 2000 env steps. The clock stops
           during a check and while anything is built (solving.py). Ours has a local env runner. The example
           has its published settings and two env runners, but iterations of 2000 steps, as ours. Each first
           learns for 2000 steps. All contenders train with one seed before the next. A run that exceeds its
           limit counts as the limit, and is marked. The example's best returns are reported: greedy ones, and
           RLlib's mean of 100 training episodes.
Env steps  learned from, per second. Both have two remote env runners, and collect and learn as `train()`
           does. Ours has batches of 64 episodes, and 32 environments on each runner. There are two stages:
           from the start  the first seconds of training, after an iteration that loads what is needed.
                           Episodes are as long as each contender has learned to make them; the final returns
                           stand beside.
           balancing       both have been taught to balance by a rule, and train with a step size of 1e-12. So
                           they keep balancing: the same updates, every episode of about 500 steps.
           Each round builds anew, from its own seed, and reverses the order of the contenders.

One torch thread for each process, and niceness 0 for all. The driver, which learns, is a third process beside
two runners. If fewer than three cores are free, it takes its time from the runners, for ours and for the
example."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.examples.algorithms.classes.vpg import VPGConfig
from ray.rllib.examples.rl_modules.classes.vpg_torch_rlm import VPGTorchRLModule
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, EPISODE_RETURN_MEAN, NUM_ENV_STEPS_SAMPLED_LIFETIME
from side_by_side import spread, write
from solving import ENV, Contender, Judge, built, rule, summarize, time_to_solve, train_on_rllib
from torch import Tensor, nn

from algorithms.reinforce.learner import PolicyModule
from algorithms.reinforce.options import PRESETS
from algorithms.reinforce.reinforce import REINFORCEConfig
from workflows.experiment.ray_cluster import connected

CHECK_PERIOD = 2000
NUM_ENV_RUNNERS = 2
DECIMALS = 2
"""Of seconds, in print."""

VPG_OPTIONS: dict[str, Any] = {"num_episodes_per_train_batch": 10, "lr": 0.0005}
VPG_ENV_RUNNERS: dict[str, Any] = {"num_env_runners": NUM_ENV_RUNNERS, "num_envs_per_env_runner": 1}
VPG_NETWORK: dict[str, Any] = {"hidden_dim": 64}
"""Settings of rllib/examples/algorithms/vpg_custom_algorithm.py."""

OURS_ON_TWO: dict[str, Any] = {"num_episodes_per_train_batch": 64, "num_envs_per_env_runner": 32}
"""Options other than the preset's on two env runners: a batch for both, an environment per episode."""

TIME_GOAL, STEPS_GOAL = "under 2 s", "at least 40 times the example's"

NEXT_TO_NOTHING = 1e-12
"""Step size of contenders that balance already."""


def our_config(num_env_runners: int, **options: Any) -> AlgorithmConfig:
    return (
        on_cartpole(REINFORCEConfig())
        .training(**(asdict(PRESETS[ENV]) | options))
        .env_runners(num_env_runners=num_env_runners)
    )


def vpg_config() -> AlgorithmConfig:
    return on_cartpole(VPGConfig()).training(**VPG_OPTIONS).env_runners(**VPG_ENV_RUNNERS)


def on_cartpole(config: AlgorithmConfig) -> AlgorithmConfig:
    """Reserve no CPU, so that RLlib never waits for one. A lost runner ends the benchmark."""
    return (
        config.environment(ENV)
        .env_runners(num_cpus_per_env_runner=0)
        .fault_tolerance(restart_failed_env_runners=False)
    )


# Time to solve


def train_ours(seed: int, judge: Judge) -> None:
    train_on_rllib(our_config(num_env_runners=0), seed, judge, CHECK_PERIOD)


def train_vpg(seed: int, judge: Judge) -> None:
    train_on_rllib(vpg_config(), seed, judge, CHECK_PERIOD)
    judge.notes = {
        "best_greedy_return": judge.best_greedy_return,
        "best_training_return": judge.best_training_return,
    }


def summarize_best(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Print the example's best returns; return their medians."""
    figures: dict[str, float] = {}
    for name in ("best_greedy_return", "best_training_return"):
        best = [row[name] for row in runs]
        figures |= spread(f"vpg_{name}", best)
        each = ", ".join(f"{value:.1f}" for value in best)
        print(f"vpg   {name.replace('_', ' ')}: median {figures[f'vpg_{name}_median']:.1f}  ({each})")
    return figures


# Env steps per second


def teach_to_balance(policy: Callable[[Tensor], Tensor], parameters: Iterator[nn.Parameter]) -> None:
    """Make a policy push the cart towards the lean of pole and cart: every episode then has 500 steps."""
    generator = torch.Generator().manual_seed(0)
    scale, gains = torch.tensor([1.0, 1.0, 0.1, 1.0]), torch.tensor([0.1, 0.3, 3.0, 1.0])
    optimizer = torch.optim.Adam(list(parameters), lr=1e-2)
    for _ in range(300):
        obs = torch.randn(256, len(scale), generator=generator) * scale
        loss = nn.functional.cross_entropy(policy(obs), (obs @ gains > 0).long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


class OursBalancing(PolicyModule):
    def setup(self) -> None:
        super().setup()
        teach_to_balance(self.pi, self.pi.parameters())


class VPGBalancing(VPGTorchRLModule):
    def setup(self) -> None:
        super().setup()
        teach_to_balance(self._policy_net, self._policy_net.parameters())


def balancing(config: AlgorithmConfig, spec: RLModuleSpec) -> AlgorithmConfig:
    return config.training(lr=NEXT_TO_NOTHING).rl_module(rl_module_spec=spec)


STAGES: dict[str, dict[str, Callable[[], AlgorithmConfig]]] = {
    "from_the_start": {
        "ours": lambda: our_config(NUM_ENV_RUNNERS, **OURS_ON_TWO),
        "vpg": vpg_config,
    },
    "balancing": {
        "ours": lambda: balancing(
            our_config(NUM_ENV_RUNNERS, **OURS_ON_TWO), RLModuleSpec(module_class=OursBalancing)
        ),
        "vpg": lambda: balancing(
            vpg_config(), RLModuleSpec(module_class=VPGBalancing, model_config=VPG_NETWORK)
        ),
    },
}


def steps_per_s(config: AlgorithmConfig, seed: int, seconds: float) -> tuple[float, float]:
    """Return the env steps per second of training, and the mean return of the last 100 episodes."""
    config.learners(num_learners=0).debugging(seed=seed).reporting(
        min_sample_timesteps_per_iteration=CHECK_PERIOD
    )
    with built(config) as algo:
        before = algo.train()[ENV_RUNNER_RESULTS][NUM_ENV_STEPS_SAMPLED_LIFETIME]
        began = time.perf_counter()
        while True:
            results = algo.train()[ENV_RUNNER_RESULTS]
            elapsed = time.perf_counter() - began
            if elapsed >= seconds:
                break
        terms = algo.env_runner_group.foreach_env_runner(
            lambda runner: (torch.get_num_threads(), os.nice(0)), local_env_runner=False
        )
    assert terms == [(torch.get_num_threads(), os.nice(0))] * NUM_ENV_RUNNERS, (
        f"threads and niceness of the env runners are {terms}"
    )
    return (results[NUM_ENV_STEPS_SAMPLED_LIFETIME] - before) / elapsed, float(results[EPISODE_RETURN_MEAN])


def measure_steps(num_rounds: int, seconds: float) -> dict[str, list[dict[str, float]]]:
    """Return by stage a row for each round: the contenders' steps per second, ratio and returns."""
    rounds: dict[str, list[dict[str, float]]] = {stage: [] for stage in STAGES}
    for number in range(num_rounds):
        for stage, contenders in STAGES.items():
            row: dict[str, float] = {}
            for name in list(contenders)[:: -1 if number % 2 else 1]:
                row[name], row[f"{name}_return"] = steps_per_s(contenders[name](), number, seconds)
                figures = f"{row[name]:>9,.0f} env steps/s, return {row[f'{name}_return']:5.1f}"
                print(
                    f"round {number + 1}/{num_rounds}: {stage.replace('_', ' ')}, {name:<4} {figures}",
                    flush=True,
                )
            rounds[stage].append({"ratio": row["ours"] / row["vpg"], **row})
    return rounds


def summarize_steps(rounds: dict[str, list[dict[str, float]]]) -> dict[str, float]:
    """Print each stage's medians and ratio; return them, with their spreads."""
    record: dict[str, float] = {}
    for stage, rows in rounds.items():
        for name in rows[0]:
            record |= spread(f"{stage}_{name}", [row[name] for row in rows])
        ours, vpg, ratio = (record[f"{stage}_{name}_median"] for name in ("ours", "vpg", "ratio"))
        between = f"{record[f'{stage}_ratio_min']:.1f} to {record[f'{stage}_ratio_max']:.1f}"
        print(
            f"{stage.replace('_', ' ')}: ours {ours:,.0f}, vpg {vpg:,.0f} env steps/s: {ratio:.1f} times ({between}); goal: {STEPS_GOAL}"
        )
    return record


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5, help="how many train until solved: 0, 1, ...")
    parser.add_argument(
        "--peer-seeds", type=int, help="how many seeds the example trains with (default: as many)"
    )
    parser.add_argument(
        "--limit-s", type=float, default=30.0, help="seconds of training that a run of ours may take"
    )
    parser.add_argument(
        "--peer-limit-s",
        type=float,
        default=60.0,
        help="seconds of training that a run of the example's may take",
    )
    parser.add_argument("--rounds", type=int, default=5, help="of measuring env steps per second")
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="seconds per measurement of env steps per second"
    )
    parser.add_argument(
        "--only",
        choices=("ours", "vpg", "steps"),
        help="do only this; writes nothing, because only runs side by side compare",
    )
    flags = parser.parse_args()
    os.environ["RAY_worker_niceness"] = "0"  # for all of Ray's processes  # noqa: SIM112
    torch.set_num_threads(1)
    contenders = {
        "ours": Contender(train_ours, flags.limit_s, flags.seeds),
        "vpg": Contender(
            train_vpg, flags.peer_limit_s, flags.seeds if flags.peer_seeds is None else flags.peer_seeds
        ),
    }
    if flags.only:
        contenders = {name: contender for name, contender in contenders.items() if name == flags.only}
    runs: dict[str, list[dict[str, Any]]] = {}
    rounds: dict[str, list[dict[str, float]]] = {}
    with connected("local"):
        if contenders:
            runs = time_to_solve(contenders, DECIMALS)
        if flags.only in (None, "steps"):
            rounds = measure_steps(flags.rounds, flags.seconds)

    record = summarize(contenders, runs, DECIMALS)
    if "ours" in runs:
        print(f"goal: {TIME_GOAL}")
    if "vpg" in runs:
        record |= summarize_best(runs["vpg"])
    record |= summarize_steps(rounds)
    if flags.only:
        return
    notes = {
        "limit_s": flags.limit_s,
        "vpg_limit_s": flags.peer_limit_s,
        "seconds_per_measurement": flags.seconds,
        "env_runners": {
            "time_to_solve": {"ours": 0, "vpg": NUM_ENV_RUNNERS},
            "env_steps_per_s": NUM_ENV_RUNNERS,
        },
        "threads_per_process": 1,
        "worker_niceness": 0,
        "usable_cores": len(os.sched_getaffinity(0)),
        "ours_options": asdict(PRESETS[ENV]),
        "ours_options_on_two_env_runners": OURS_ON_TWO,
        "vpg_options": {**VPG_OPTIONS, **VPG_ENV_RUNNERS, **VPG_NETWORK},
    }
    head = {
        "unit": "s of training; env steps/s",
        "rule": rule(CHECK_PERIOD),
        "goals": {"time": TIME_GOAL, "env_steps_per_s": STEPS_GOAL},
    }
    write(head | record | {"runs": runs, "rounds": rounds} | notes, "gymnasium")


if __name__ == "__main__":
    main()
