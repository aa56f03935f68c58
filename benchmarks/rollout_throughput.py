"""Environment steps per second of our env runners, of a bare loop (the upper bound) and of RLlib's.

bare loop     64 CartPoles and the Q-network in this process: no Ray, nothing stored, always the greedy action
one runner    a VectorEnvRunner as a Ray actor; our sampler fetches its answers and drops them
two runners   the same, two at once
RLlib         its SingleAgentEnvRunner in this process, with the same network size and vector environment
RLlib, as is  the same with RLlib's own defaults: one environment, its DQN's network

One thread for each process. A step is one environment's part of a step of all 64, resets included. Ray gives
its workers niceness 15 by default. Here they have 0, like this process, so that priorities do not decide who
waits."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

import torch
from ray.rllib.algorithms.dqn import DQNConfig as PeerConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from side_by_side import spread, write

from algorithms.dqn.dqn import DQNConfig
from algorithms.dqn.options import PRESETS
from algorithms.rl.env_runner import VectorEnvRunner
from algorithms.rl.rollout_stats import RolloutStats
from algorithms.rl.runner_pool import RunnerPool
from workflows.experiment.ray_cluster import connected

ENV, NUM_ENVS = "CartPole-v1", 64
OPTIONS = PRESETS[ENV]

WARM_UP_S = 0.3
"""Seconds before the clock starts: they fill caches and use up answers in flight since the last round."""

GOALS = {
    ("one_runner", "bare_loop"): "at least 0.60",
    (
        "two_runners",
        "one_runner",
    ): "at least 1.7 with three free cores: one for the driver, and one for each runner",
    ("one_runner", "rllib"): "at least 50",
    ("one_runner", "rllib_as_is"): "none; for information",
}
"""Which figures are divided, and the goal of each ratio."""


class BareLoop:
    def __init__(self, runner: VectorEnvRunner) -> None:
        assert runner.stepper is not None
        self._env, self._qf = runner.stepper.envs, runner.module.qf
        self._obs, _ = self._env.reset(seed=0)

    def run(self, seconds: float) -> int:
        """Return the number of steps taken."""
        ends = time.perf_counter() + seconds
        obs, num_steps = self._obs, 0
        with torch.inference_mode():
            while time.perf_counter() < ends:
                obs, *_ = self._env.step(self._qf(torch.from_numpy(obs)).argmax(dim=1).numpy())
                num_steps += NUM_ENVS
        self._obs = obs
        return num_steps


class RemoteRunners:
    def __init__(self, num_env_runners: int, rollout_fragment_length: int, weights: dict[str, Any]) -> None:
        config = our_config(num_env_runners, rollout_fragment_length)
        self._group = EnvRunnerGroup(config=config, local_env_runner=False)
        self._stats = RolloutStats(window=config.metrics_num_episodes_for_smoothing)
        pool = RunnerPool(self._group, config, self._stats)
        pool.broadcast(weights, version=0)
        self._sampler = config.make_sampler(pool)
        self._steps_per_rollout = rollout_fragment_length * NUM_ENVS
        niceness = self._group.foreach_env_runner(lambda runner: os.nice(0), local_env_runner=False)
        assert niceness == [os.nice(0)] * num_env_runners, f"niceness of the runners is {niceness}"

    def run(self, seconds: float) -> int:
        """Return the number of steps received."""
        ends = time.perf_counter() + seconds
        num_rollouts = 0
        while time.perf_counter() < ends:
            results = self._sampler.collect()
            self._stats.count(results)
            self._sampler.ask()
            num_rollouts += len(results)
        return num_rollouts * self._steps_per_rollout

    def stop(self) -> None:
        self._group.stop()


class RLlibRunner:
    def __init__(self, config: Any, num_timesteps: int) -> None:
        self._runner = SingleAgentEnvRunner(config=config)
        self._num_timesteps = num_timesteps
        self.module = self._runner.module

    def run(self, seconds: float) -> int:
        """Return the number of steps taken."""
        ends = time.perf_counter() + seconds
        num_steps = 0
        while time.perf_counter() < ends:
            episodes = self._runner.sample(num_timesteps=self._num_timesteps)
            num_steps += sum(
                len(episode) + episode.is_done for episode in episodes
            )  # a reset follows each end
        return num_steps

    def stop(self) -> None:
        self._runner.stop()


def peer_config() -> PeerConfig:
    """Return RLlib's DQN with our network and our vector environment."""
    network = DefaultModelConfig(
        fcnet_hiddens=list(OPTIONS.fcnet_hiddens),
        fcnet_activation=OPTIONS.fcnet_activation,
        head_fcnet_hiddens=[],
    )
    return (
        PeerConfig()
        .environment(ENV)
        .env_runners(
            num_env_runners=0, num_envs_per_env_runner=NUM_ENVS, gym_env_vectorize_mode="vector_entry_point"
        )
        .training(dueling=False, epsilon=OPTIONS.epsilon)
        .rl_module(model_config=network)
        .debugging(seed=0)
    )


def our_config(num_env_runners: int, rollout_fragment_length: int) -> DQNConfig:
    """Return the preset's configuration with 64 environments; its actors reserve no CPU."""
    return (
        DQNConfig()
        .environment(ENV)
        .training(
            fcnet_hiddens=OPTIONS.fcnet_hiddens,
            fcnet_activation=OPTIONS.fcnet_activation,
            epsilon=OPTIONS.epsilon,
        )
        .env_runners(
            num_env_runners=num_env_runners,
            num_envs_per_env_runner=NUM_ENVS,
            rollout_fragment_length=rollout_fragment_length,
            num_cpus_per_env_runner=0,
        )
        .fault_tolerance(restart_failed_env_runners=False)
        .debugging(seed=0)
    )


def steps_per_s(run: Callable[[float], int], seconds: float) -> float:
    run(WARM_UP_S)
    began = time.perf_counter()
    num_steps = run(seconds)
    return num_steps / (time.perf_counter() - began)


def measure(flags: argparse.Namespace) -> list[dict[str, float]]:
    """Return each contender's steps per second, a row for each round; every round reverses the order."""
    length = flags.rollout_fragment_length
    local, rllib = (
        VectorEnvRunner(config=our_config(0, length)),
        RLlibRunner(peer_config(), length * NUM_ENVS),
    )
    as_is = RLlibRunner(PeerConfig().environment(ENV).debugging(seed=0), 1000)
    num_parameters = [
        sum(parameter.numel() for parameter in module.parameters()) for module in (local.module, rllib.module)
    ]
    assert num_parameters[0] == num_parameters[1], "not the same network"
    weights = local.module.get_state(inference_only=True)
    one, two = (RemoteRunners(number, length, weights) for number in (1, 2))
    contenders = {
        "bare_loop": BareLoop(local).run,
        "one_runner": one.run,
        "two_runners": two.run,
        "rllib": rllib.run,
        "rllib_as_is": as_is.run,
    }
    rows: list[dict[str, float]] = []
    for number in range(flags.rounds):
        names = list(contenders)[:: -1 if number % 2 else 1]
        row = {}
        for name in names:
            row[name] = steps_per_s(contenders[name], flags.seconds)
            print(f"round {number + 1}/{flags.rounds}: {name:<11} {row[name]:>9,.0f} env steps/s", flush=True)
        rows.append({name: row[name] for name in contenders})
    for runner in (local, one, two, rllib, as_is):
        runner.stop()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=4.0, help="seconds per measurement")
    parser.add_argument(
        "--rollout-fragment-length", type=int, default=128, help="steps of each environment per request"
    )
    flags = parser.parse_args()
    os.environ["RAY_worker_niceness"] = "0"  # for all of Ray's processes  # noqa: SIM112
    torch.set_num_threads(1)
    with connected("local"):
        rows = measure(flags)

    record: dict[str, Any] = {"unit": "env steps/s"}
    for name in rows[0]:
        figures = spread(name, [row[name] for row in rows])
        print(
            f"{name:<11} {figures[f'{name}_median']:>9,.0f} env steps/s ({figures[f'{name}_min']:,.0f} to {figures[f'{name}_max']:,.0f})"
        )
        record |= figures
    for (ours, peer), goal in GOALS.items():
        name = f"{ours}_per_{peer}"
        figures = spread(name, [row[ours] / row[peer] for row in rows])
        print(
            f"{name}: {figures[f'{name}_median']:.2f} ({figures[f'{name}_min']:.2f} to {figures[f'{name}_max']:.2f}); goal: {goal}"
        )
        record |= figures | {f"{name}_goal": goal}
    notes = {
        "num_envs": NUM_ENVS,
        "rollout_fragment_length": flags.rollout_fragment_length,
        "requests_in_flight_per_runner": our_config(
            1, flags.rollout_fragment_length
        ).max_requests_in_flight_per_env_runner,
        "seconds_per_measurement": flags.seconds,
        "threads_per_process": 1,
        "worker_niceness": 0,
        "usable_cores": len(os.sched_getaffinity(0)),
    }
    write(record | {"rounds": rows} | notes, "gymnasium")


if __name__ == "__main__":
    main()
