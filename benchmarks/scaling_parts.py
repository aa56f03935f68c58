"""Bytes and seconds of columns to the learner, weights to the runners, and an update by its batch size.

The second node is another raylet on this machine, with its own object store: Ray's transfer without a
network."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import ray
import scaling_runners as world
import torch

NETWORKS = {"128": (128,), "256-256": (256, 256)}
OBS_SIZES = (4, 348)
"""CartPole's, Humanoid's."""
BATCH_SIZES = (128, 512, 2048)
BIG_BYTES = 64_000_000


@ray.remote(num_cpus=0)
class Store:
    """Puts arrays into the object store of its node."""

    def put(self, num_bytes: int, number: int) -> list[Any]:
        return [ray.put(np.zeros(num_bytes, np.uint8)) for _ in range(number)]


def measure() -> list[dict[str, Any]]:
    """Return a row for each part; Ray must be running."""
    serialize = ray._private.worker.global_worker.get_serialization_context().serialize
    rows: list[dict[str, Any]] = []

    def add(name: str, value: float, unit: str) -> None:
        rows.append({"name": name, "value": value, "unit": unit})
        print(f"{name}: {value:.6g} {unit}", flush=True)

    for obs_size in OBS_SIZES:
        for length in (1, 16):
            columns = world.made_up_batch(length, 64, obs_size=obs_size)
            add(
                f"bytes per env step, {obs_size} numbers, {length} x 64",
                serialize(columns).total_bytes / (64 * length),
                "bytes",
            )
            add(
                f"of it arrays, {obs_size} numbers, {length} x 64",
                array_bytes(columns) / (64 * length),
                "bytes",
            )
    for name, hiddens in NETWORKS.items():
        algo = world.build("dqn", 0, 64, fcnet_hiddens=hiddens)
        learner = algo.learner_group._learner
        weights = learner.policy_module.get_state(inference_only=True)
        add(f"weights {name}", serialize(weights).total_bytes, "bytes")
        add(f"put weights {name}", seconds_per_call(lambda w=weights: ray.put(w), 300), "s")
        runner = algo.env_runner_group.local_env_runner
        add(
            f"runner takes weights {name}",
            seconds_per_call(lambda r=runner, w=weights: r.module.set_state(w), 300),
            "s",
        )
        learner.replay.add(world.made_up_batch(64, 64).transitions())
        for batch_size in BATCH_SIZES:
            learner.options = world.replace(learner.options, train_batch_size_per_learner=batch_size)
            add(
                f"update {name}, batch {batch_size}",
                seconds_per_call(lambda one=learner: one._update_many(8), 40) / 8,
                "s",
            )
        columns = world.made_up_batch(16, 64)
        add(
            f"add 1,024 steps to the replay, network {name}",
            seconds_per_call(lambda one=learner, c=columns: one.replay.add(c.transitions()), 300),
            "s",
        )
        algo.stop()
    for where, number in (("this node", 200), ("another node", 200)):
        store = Store.options(resources={where: 1}).remote()
        for num_bytes in (33_000, 1_500_000):
            refs = ray.get(store.put.remote(num_bytes, number if num_bytes < 1e6 else 40))
            add(
                f"get {num_bytes} bytes of {where}, one by one",
                timed(lambda r=refs: [ray.get(ref) for ref in r]) / len(refs),
                "s",
            )
            refs = ray.get(store.put.remote(num_bytes, number if num_bytes < 1e6 else 40))
            add(
                f"get {num_bytes} bytes of {where}, all at once",
                timed(lambda r=refs: ray.get(r)) / len(refs),
                "s",
            )
        rates = []
        for _ in range(5):
            refs = ray.get(store.put.remote(BIG_BYTES, 1))
            rates.append(BIG_BYTES / timed(lambda r=refs: ray.get(r)) / 1e9)
        add(f"get {BIG_BYTES} bytes of {where}", statistics.median(rates), "GB/s")
    big = np.zeros(BIG_BYTES, np.uint8)
    add("put into the store", BIG_BYTES / seconds_per_call(lambda: ray.put(big), 10) / 1e9, "GB/s")
    return rows


def array_bytes(columns: Any) -> int:
    return sum(array.nbytes for array in vars(columns).values() if isinstance(array, np.ndarray))


def timed(function: Callable[[], Any]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def seconds_per_call(function: Callable[[], Any], number: int) -> float:
    """Return the median of three means, after a warm-up."""
    function()
    assert torch.get_num_threads() == 1
    return statistics.median(timed(lambda: [function() for _ in range(number)]) / number for _ in range(3))
