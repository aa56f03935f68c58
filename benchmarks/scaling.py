"""Measure 1 to 32 real env runners, up to 1,000 emulated ones, and the head of a search of 200 trials.

runners    real env runners, Ray actors whose environments sleep: throughput and waiting
emulated   the same driver, learner and object store; runners are coroutines in four actors
parts      bytes and seconds of columns and weights, and of an update by its batch size
trials     the head of a search whose trials do nothing: what a report costs, and saving the search's state

Each part adds its points to benchmarks/results/scaling.json. `python benchmarks/scaling_predict.py` fits a
model to some of them and compares it with the others. docs/scaling.md reports the results."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from side_by_side import RESULTS, circumstances

PATH = RESULTS / "scaling.json"
WARM_UP_S = 2.0
"""Seconds before the clock starts: the replay's first steps, and answers requested under other settings."""
NUM_EMULATORS = 4
WORKER_NICENESS = 5
"""Niceness of the runners. The driver, which would have its own machine, comes first. Ray's default is 15."""

DQN_SETTINGS: list[dict[str, Any]] = [
    {"num_envs": 64, "length": 16, "step_s": 0.02, "training_intensity": 1.0},
    {"num_envs": 64, "length": 16, "step_s": 0.02, "training_intensity": 8.0},
    {"num_envs": 64, "length": 4, "step_s": 0.02, "training_intensity": 1.0},
    {"num_envs": 64, "length": 1, "step_s": 0.02, "training_intensity": 1.0},
]
"""Settings of real runners; `length` is rollout_fragment_length, `step_s` the seconds that a step sleeps."""
EMULATED_DQN_SETTINGS: list[dict[str, Any]] = [
    {"num_envs": 64, "length": 16, "step_s": 0.02, "training_intensity": 1.0},
    {"num_envs": 64, "length": 16, "step_s": 0.2, "training_intensity": 0.25},
    {"num_envs": 8, "length": 16, "step_s": 0.1, "training_intensity": 1.0},
    {"num_envs": 8, "length": 32, "step_s": 0.1, "training_intensity": 1.0},
]
REINFORCE_SETTING: dict[str, Any] = {"num_envs": 16, "step_s": 0.005, "num_episodes": 256}
EMULATED_REINFORCE_SETTING: dict[str, Any] = {"num_envs": 16, "step_s": 0.005, "num_episodes": 1024}


def runners(number: int, seconds: float) -> Iterator[dict[str, Any]]:
    """Yield the points of each number of real runners."""
    import scaling_runners as world

    algo = world.build("dqn", number, 64)
    for setting in DQN_SETTINGS:
        world.set_intensity(algo, setting["training_intensity"])
        length, step_s = setting["length"], setting["step_s"]
        algo.env_runner_group.foreach_env_runner(
            lambda runner, n=length, s=step_s: runner.set(n, s), local_env_runner=False
        )
        yield point("dqn", "real", number, setting, world.measure(algo, seconds, WARM_UP_S))
    algo.stop()
    setting = REINFORCE_SETTING
    algo = world.build(
        "reinforce", number, setting["num_envs"], num_episodes_per_train_batch=setting["num_episodes"]
    )
    algo.env_runner_group.foreach_env_runner(
        lambda runner: runner.set(1, setting["step_s"]), local_env_runner=False
    )
    yield point("reinforce", "real", number, setting, world.measure(algo, seconds, WARM_UP_S))
    algo.stop()


def emulated(number: int, seconds: float) -> Iterator[dict[str, Any]]:
    """Yield the points of each number of emulated runners."""
    import ray
    import scaling_runners as world

    emulators = [world.Emulator.remote() for _ in range(NUM_EMULATORS)]
    for algorithm, settings in (("dqn", EMULATED_DQN_SETTINGS), ("reinforce", [EMULATED_REINFORCE_SETTING])):
        options = {} if algorithm == "dqn" else {"num_episodes_per_train_batch": settings[0]["num_episodes"]}
        algo = world.build(algorithm, 1, settings[0]["num_envs"], **options)
        own = algo.env_runner_group._worker_manager
        algo.config._is_frozen = False
        algo.config.num_env_runners = number
        for which, setting in enumerate(settings):
            if algorithm == "dqn":
                world.set_intensity(algo, setting["training_intensity"])
            length = setting.get("length", 0)
            ray.get([one.set.remote(length, setting["step_s"], setting["num_envs"]) for one in emulators])
            world.emulate(algo, number, emulators, first=which * number)
            rollout_s = length * setting["step_s"]
            figures = world.measure(algo, max(seconds, 3 * rollout_s), WARM_UP_S + 2 * rollout_s)
            yield point(algorithm, "emulated", number, setting, figures)
        algo.env_runner_group._worker_manager = own
        algo.stop()
    for one in emulators:
        ray.kill(one)


def point(
    algorithm: str, kind: str, number: int, setting: dict[str, Any], figures: dict[str, float]
) -> dict[str, Any]:
    """Return a point, and say so."""
    print(
        f"{algorithm} {number:>4} {kind} {setting}: {figures['env_steps_per_s']:>9,.0f} env steps/s, "
        f"{figures['rollouts_per_s']:.1f} rollouts/s, "
        f"learner idle {figures['learner_idle_share']:.2f}, runners idle {figures['env_runners_idle_share']:.2f}, "
        f"driver {figures['driver_s'] / figures['seconds']:.2f}, lag {figures['weights_lag']:.1f}, cpu {figures['cpu_share']:.2f} (others "
        f"{figures['others_cpu_share']:.2f})",
        flush=True,
    )
    return {"algorithm": algorithm, "kind": kind, "num_runners": number, **setting, **figures}


def record(part: str, points: list[dict[str, Any]]) -> None:
    """Add the points to the file; they replace those of the same algorithm, kind, size and setting."""
    found = json.loads(PATH.read_text()) if PATH.exists() else {}
    drop = {_key(one) for one in points}
    kept = [one for one in found.get(part, {}).get("points", []) if _key(one) not in drop]
    found[part] = {"points": kept + points, **circumstances("gymnasium")}
    PATH.write_text(json.dumps(found, indent=1) + "\n")


def _key(point: dict[str, Any]) -> str:
    where = ("name", "algorithm", "kind", "num_runners", "num_trials", "slots", "scheduler")
    settings = ("num_envs", "length", "step_s", "training_intensity", "num_episodes")
    return str([point.get(name) for name in (*where, *settings)])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=("runners", "emulated", "parts", "trials"))
    parser.add_argument(
        "--numbers",
        type=int,
        nargs="+",
        help="of runners or trials (default: 1 to 32, 10 to 1,000, 10 to 200)",
    )
    parser.add_argument("--seconds", type=float, default=4.0, help="seconds per point")
    flags = parser.parse_args()
    torch.set_num_threads(1)
    signal.signal(
        signal.SIGTERM, lambda number, frame: sys.exit(128 + number)
    )  # Ray is then stopped in order
    os.environ |= {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": os.urandom(16).hex(),
    }  # set before Ray is imported: no other process may join
    os.environ["RAY_worker_niceness"] = str(WORKER_NICENESS)  # Ray's own spelling  # noqa: SIM112
    if flags.part == "trials":
        import scaling_trials

        for one in scaling_trials.measure(flags.numbers or [10, 50, 100, 200]):
            record(flags.part, [one])
        return
    with cluster(two_nodes=flags.part == "parts"):
        if flags.part == "runners":
            for number in flags.numbers or [1, 2, 4, 8, 16, 32]:
                for one in runners(number, flags.seconds):
                    record(flags.part, [one])
        elif flags.part == "emulated":
            for number in flags.numbers or [10, 100, 300, 1000]:
                for one in emulated(number, flags.seconds):
                    record(flags.part, [one])
        else:
            import scaling_parts

            record(flags.part, scaling_parts.measure())


@contextmanager
def cluster(two_nodes: bool) -> Iterator[None]:
    """Start a Ray that counts 64 CPUs, whatever the machine has; if asked for, with a second node."""
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"  # Ray's coming default; Ray warns if it is unset
    import ray
    from ray.cluster_utils import Cluster

    logging.getLogger("ray").setLevel(logging.ERROR)
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 64, "resources": {"this node": 1}})
    try:
        if two_nodes:
            nodes.add_node(num_cpus=1, resources={"another node": 1})
        ray.init(address=nodes.address, log_to_driver=False, logging_level=logging.ERROR)
        yield
    finally:
        ray.shutdown()
        nodes.shutdown()


if __name__ == "__main__":
    main()
