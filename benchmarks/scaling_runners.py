"""Our algorithms with a meter inside, on simulators that sleep and on real or emulated runners.

benchmarks/scaling.py measures them. A step of the simulator takes time and hardly any processor, as if it ran
on another machine. A real runner is a Ray actor of its own. An emulated one is a coroutine, and hundreds of
them share an actor. The driver, the learner, Ray's calls and its object store stay real."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import ray
from gymnasium.vector import VectorEnv
from ray.rllib.utils.actor_manager import FaultTolerantActorManager

from algorithms.dqn.dqn import DQN, DQNConfig
from algorithms.dqn.options import PRESETS
from algorithms.reinforce.reinforce import REINFORCE, REINFORCEConfig
from algorithms.rl import runner_pool
from algorithms.rl.env_runner import VectorEnvRunner, collect_rollout
from algorithms.rl.learner import policy_weights
from algorithms.rl.rollout_batch import Episodes, RolloutBatch, RolloutResult
from algorithms.rl.stepper import EPISODE_BLOCK_STEPS

ENV, EPISODE_STEPS = "CartPole-v1", 100
OPTIONS = PRESETS[ENV]


class Simulator(VectorEnv[Any, Any, Any]):
    """Environments with CartPole's spaces; a step sleeps, and every episode has EPISODE_STEPS steps."""

    metadata = {"autoreset_mode": gym.vector.AutoresetMode.NEXT_STEP}  # as in Gymnasium  # noqa: RUF012

    def __init__(self, like: VectorEnv[Any, Any, Any]) -> None:
        self.num_envs, self.step_s = like.num_envs, 0.0
        self.observation_space, self.action_space = like.observation_space, like.action_space
        self.single_observation_space, self.single_action_space = (
            like.single_observation_space,
            like.single_action_space,
        )
        self._obs = np.random.default_rng(0).normal(size=(self.num_envs, 4)).astype(np.float32)
        self._age = 0

    def reset(self, **kwargs: Any) -> tuple[np.ndarray, dict[str, Any]]:
        self._age = 0
        return self._obs, {}

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        time.sleep(self.step_s)
        self._age = 0 if self._age == EPISODE_STEPS else self._age + 1  # the step after an end resets
        ended = np.full(self.num_envs, self._age == EPISODE_STEPS)
        return self._obs, np.ones(self.num_envs, np.float32), np.zeros(self.num_envs, bool), ended, {}


class SimulatorRunner(VectorEnvRunner):
    """Our env runner on simulators; the length of its rollouts and the time of a step can be changed."""

    length, step_s = 16, 0.02

    def make_envs(self) -> Any:
        simulator = Simulator(super().make_envs())
        simulator.step_s = self.step_s
        return simulator

    def set(self, length: int, step_s: float) -> None:
        self.length, self.step_s = length, step_s
        self.stepper.envs.step_s = step_s  # type: ignore[union-attr]

    def _rollout(self, stepper: Any, request: Any) -> RolloutBatch:
        if request is None:
            return stepper.fragment(self.length, self._choose(True), self._env_steps)  # type: ignore[no-any-return]
        return super()._rollout(stepper, request)


@ray.remote(num_cpus=0, max_concurrency=4000)
class Emulator:
    """Answers for many runners at once; each only sleeps, for one request after the other."""

    def __init__(self) -> None:
        self._locks: dict[int, asyncio.Lock] = {}
        self._ended: dict[int, float] = {}

    async def set(self, length: int, step_s: float, num_envs: int) -> None:
        self._length, self._step_s, self._num_envs = length, step_s, num_envs

    async def collect(
        self, index: int, weights_version: int, request: Any = None, **others: Any
    ) -> RolloutResult:
        async with self._locks.setdefault(index, asyncio.Lock()):
            began = time.perf_counter()
            num_steps, num_envs = self._length, self._num_envs
            if request is not None:
                num_steps = math.ceil(request.num_episodes / num_envs) * (EPISODE_STEPS + 1) - 1
                num_envs = min(num_envs, request.num_episodes)
            blocks = 1 if request is None else EPISODE_BLOCK_STEPS
            await asyncio.sleep(math.ceil(num_steps / blocks) * blocks * self._step_s)
            batch = replace(
                made_up_batch(num_steps, num_envs, whole_episodes=request is not None),
                weights_version=weights_version,
            )
            ended = time.perf_counter()
            idle_s = began - self._ended.get(index, began)
            self._ended[index] = ended
            return RolloutResult(
                ray.put(batch),
                batch.env_steps(),
                Episodes(),
                weights_version,
                busy_s=ended - began,
                idle_s=idle_s,
            )


@cache
def made_up_batch(
    num_steps: int, num_envs: int, whole_episodes: bool = False, obs_size: int = 4
) -> RolloutBatch:
    """Return a batch of the same size as a runner's."""
    shape = num_steps, num_envs
    terminated, dropped, truncated, valid = (np.full(shape, value) for value in (False, False, False, True))
    if whole_episodes:
        truncated[EPISODE_STEPS - 1 :: EPISODE_STEPS + 1] = True
        valid[EPISODE_STEPS :: EPISODE_STEPS + 1] = False
    obs = np.random.default_rng(0).normal(size=(num_steps + 1, num_envs, obs_size)).astype(np.float32)
    return RolloutBatch(
        obs, np.zeros(shape, np.int64), np.ones(shape, np.float32), terminated, truncated, valid, dropped, 0
    )


class EmulatedRunner:
    """Stands in for a runner's actor in the actor manager."""

    def __init__(self, emulator: Any, index: int) -> None:
        self._emulator, self._index = emulator, index
        self.apply = SimpleNamespace(remote=self._apply)

    def _apply(self, func: Any, **request: Any) -> Any:
        assert func is collect_rollout, f"an emulated runner can't {func}"
        return self._emulator.collect.remote(self._index, **request)


def emulate(algo: Any, num_runners: int, emulators: list[Any], first: int) -> None:
    """Make the algorithm ask emulated runners from now on: new ones, with numbers from `first` on."""
    actors = [
        EmulatedRunner(emulators[index % len(emulators)], first + index) for index in range(num_runners)
    ]
    in_flight = algo.config.max_requests_in_flight_per_env_runner
    algo.env_runner_group._worker_manager = FaultTolerantActorManager(
        actors, max_remote_requests_in_flight_per_actor=in_flight
    )
    algo._pool = runner_pool.RunnerPool(algo.env_runner_group, algo.config, algo._stats)
    algo._sampler = algo.config.make_sampler(algo._pool)
    algo._pool.broadcast(*algo._on_learner(policy_weights))


class Meter:
    """Sums up where the algorithm's thread spends its time; stands in for the pool's `ray` to time `wait`."""

    def __init__(self) -> None:
        self.sums: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        return getattr(ray, name)

    def add(self, **amounts: float) -> None:
        for name, amount in amounts.items():
            self.sums[name] += amount  # type: ignore[assignment]

    def wait(self, *args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        answer = ray.wait(*args, **kwargs)
        self.add(wait_s=time.perf_counter() - began)
        return answer


METER = Meter()
runner_pool.ray = METER  # type: ignore[assignment]


class Measured:
    """Mixed into an algorithm: fills the meter."""

    def training_step(self) -> None:
        began = time.perf_counter()
        super().training_step()  # type: ignore[misc]
        METER.add(training_step_s=time.perf_counter() - began, training_steps=1)

    def _on_learner(self, function: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        result = super()._on_learner(function, **kwargs)  # type: ignore[misc]
        took = time.perf_counter() - began
        METER.add(learner_s=took, fit_s=took if function.__name__ == "fit_baseline" else 0.0)
        return result

    def _log(self, rollouts: list[RolloutResult], learned: Any) -> None:
        METER.add(
            rollouts=len(rollouts),
            env_steps=learned.num_env_steps,
            updates=learned.num_updates,
            broadcasts=learned.weights is not None,
            lag=sum(learned.weights_lags),
            busy_s=sum(rollout.busy_s for rollout in rollouts),
            idle_s=sum(rollout.idle_s for rollout in rollouts),
        )
        super()._log(rollouts, learned)  # type: ignore[misc]


class MeasuredDQN(Measured, DQN):
    pass


class MeasuredREINFORCE(Measured, REINFORCE):
    pass


def build(algorithm: str, num_runners: int, num_envs: int, **options: Any) -> Any:
    """Return a measured algorithm, with the network and the batch size of CartPole's preset."""
    config: Any
    if algorithm == "dqn":
        names = (
            "gamma",
            "train_batch_size_per_learner",
            "tau",
            "fcnet_hiddens",
            "fcnet_activation",
            "replay_buffer_capacity",
        )
        config = DQNConfig(MeasuredDQN).training(
            lr=1e-3, epsilon=0.1, **{name: getattr(OPTIONS, name) for name in names}
        )
    else:
        config = REINFORCEConfig(MeasuredREINFORCE).training(lr=1e-3, num_vf_updates=4)
    config.environment(ENV).training(**options).debugging(seed=0)
    config.env_runners(
        env_runner_cls=SimulatorRunner,
        num_env_runners=num_runners,
        num_envs_per_env_runner=num_envs,
        num_cpus_per_env_runner=0,
    )
    return config.build_algo()


def set_intensity(algo: Any, training_intensity: float) -> None:
    learner = algo.learner_group._learner
    learner.options = replace(learner.options, training_intensity=training_intensity)


def measure(algo: Any, seconds: float, warm_up_s: float) -> dict[str, float]:
    """Train for some seconds after a warm-up and return the figures; rates are per second of elapsed time."""
    _train(algo, warm_up_s)
    METER.sums.clear()
    all_before, own_before = cpu_s()
    took, iterations = _train(algo, seconds)
    all_cpu_s, own_cpu_s = (
        after - before for after, before in zip(cpu_s(), (all_before, own_before), strict=True)
    )
    processors = took * (os.cpu_count() or 1)
    sums = METER.sums
    return {
        "seconds": took,
        "iterations": iterations,
        **{
            name: float(sums[name])
            for name in ("training_steps", "rollouts", "env_steps", "updates", "broadcasts")
        },
        "env_steps_per_s": sums["env_steps"] / took,
        "updates_per_s": sums["updates"] / took,
        "rollouts_per_s": sums["rollouts"] / took,
        "broadcasts_per_s": sums["broadcasts"] / took,
        "learner_idle_share": 1 - sums["learner_s"] / took,
        "env_runners_idle_share": sums["idle_s"] / (sums["idle_s"] + sums["busy_s"]),
        "weights_lag": sums["lag"] / sums["rollouts"],
        "rollout_s": sums["busy_s"] / sums["rollouts"],
        "runner_idle_s": sums["idle_s"] / sums["rollouts"],
        "wait_s": float(sums["wait_s"]),
        "learner_s": float(sums["learner_s"]),
        "fit_s": float(sums["fit_s"]),
        "driver_s": float(sums["training_step_s"] - sums["learner_s"] - sums["wait_s"]),
        "between_iterations_s": float(took - sums["training_step_s"]),
        "cpu_share": own_cpu_s / processors,
        "others_cpu_share": max(0.0, all_cpu_s - own_cpu_s) / processors,
    }


def _train(algo: Any, seconds: float) -> tuple[float, int]:
    began, iterations = time.perf_counter(), 0
    while (took := time.perf_counter() - began) < seconds:
        algo.train()
        iterations += 1
    return took, iterations


def cpu_s() -> tuple[float, float]:
    """Return the seconds of processor time: of the whole machine, and of this process and its descendants."""
    user, nice, system = Path("/proc/stat").read_text().split()[1:4]
    children: dict[int, list[int]] = {}
    ticks: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        pid = int(stat.parent.name)
        children.setdefault(int(fields[1]), []).append(pid)
        ticks[pid] = int(fields[11]) + int(fields[12])
    own, todo = 0, [os.getpid()]
    while todo:
        pid = todo.pop()
        own += ticks.get(pid, 0)
        todo += children.get(pid, [])
    per_s = os.sysconf("SC_CLK_TCK")
    return (int(user) + int(nice) + int(system)) / per_s, own / per_s
