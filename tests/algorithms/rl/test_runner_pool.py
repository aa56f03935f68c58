"""The pool over a made-up group: requests, idle runners, and when it gives up. Real runners: tests/faults."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from algorithms.rl import runner_pool
from algorithms.rl.rollout_batch import RolloutResult
from algorithms.rl.rollout_stats import RolloutStats
from algorithms.rl.runner_pool import RunnerPool
from algorithms.rl.stepper import EnvironmentFailed
from algorithms.rl.whole_episodes import EpisodeRequest


class Manager:
    """Knows which runners are healthy, and who works on what."""

    def __init__(self, num_remote: int) -> None:
        self.healthy = list(range(1, num_remote + 1))
        self._in_flight_req_to_actor_id: dict[Any, tuple[str, int]] = {}
        self._actors = {runner: f"actor {runner}" for runner in self.healthy}

    def healthy_actor_ids(self) -> list[int]:
        return self.healthy

    def num_healthy_actors(self) -> int:
        return len(self.healthy)

    def num_actors(self) -> int:
        return len(self._actors)


class Group:
    """Takes two requests per runner; `back` lists the runners that come back at the next look."""

    def __init__(self, num_remote: int) -> None:
        self._worker_manager = Manager(num_remote)
        self.local_env_runner = SimpleNamespace(collect=lambda **request: request)
        self.sent: list[tuple[int, Any]] = []
        self.ready: list[tuple[int, Any]] = []
        self.back: list[int] = []

    def num_remote_env_runners(self) -> int:
        return self._worker_manager.num_actors()

    def foreach_env_runner_async(
        self, function: Any, tag: str, kwargs: Any, remote_worker_ids: Any = None
    ) -> int:
        requests = self._worker_manager._in_flight_req_to_actor_id
        num_sent = 0
        for runner in remote_worker_ids or self._worker_manager.healthy:
            if sum(runner == one for _, one in requests.values()) < 2:
                self.sent.append((runner, kwargs))
                requests[len(self.sent)] = (tag, runner)
                num_sent += 1
        return num_sent

    def fetch_ready_async_reqs(self, tags: list[str], timeout_seconds: float = 0.0) -> list[tuple[int, Any]]:
        ready, self.ready = self.ready, []
        return ready

    def probe_unhealthy_env_runners(self, timeout_seconds: float | None = None) -> list[int]:
        return self.back


CONFIG = SimpleNamespace(sample_timeout_s=60.0, env_runner_restore_timeout_s=0.2, env="X")


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> RunnerPool:
    """A pool of two remote runners; nothing waits, and nothing is put into an object store."""
    monkeypatch.setattr(runner_pool.ray, "wait", lambda refs, **how: (refs, []))
    monkeypatch.setattr(runner_pool.ray, "put", lambda value: ("reference", value))
    return RunnerPool(Group(2), CONFIG, RolloutStats(window=10))  # type: ignore[arg-type]


def test_a_request_holds_the_steps_so_far_and_the_newest_weights(pool: RunnerPool) -> None:
    pool.broadcast("weights", 7)
    pool.stats.env_steps = 300
    request = EpisodeRequest(4, 0, (3, 0, 0))
    assert pool.send(2, request)
    wanted = {"env_steps": 300, "weights": ("reference", "weights"), "weights_version": 7, "request": request}
    assert pool._group.sent == [(2, wanted)]


def test_without_remote_runners_weights_stay_arrays_and_the_local_runner_collects() -> None:
    pool = RunnerPool(Group(0), CONFIG, RolloutStats(window=10))  # type: ignore[arg-type]
    weights = {"layer": np.ones(2)}
    pool.broadcast(weights, 1)
    assert pool.collect_here(None)["weights"] is weights  # type: ignore[index]


def test_filling_gives_every_runner_as_many_requests_as_it_may_have(pool: RunnerPool) -> None:
    pool._manager._in_flight_req_to_actor_id["other"] = ("evaluation", 1)
    assert pool.idle_runners() == [1, 2]
    pool.fill()
    assert pool.num_in_flight() == {1: 1, 2: 2}  # the evaluation is one of runner 1's two
    assert pool.idle_runners() == []


def test_answers_come_sorted_by_runner(pool: RunnerPool) -> None:
    pool._group.ready = [(2, RolloutResult("b")), (1, RolloutResult("a"))]
    assert [(runner, result.batch) for runner, result in pool.hear()] == [(1, "a"), (2, "b")]


def test_a_runner_that_does_not_answer_in_time_is_killed_to_be_restarted_and_counted_once(
    pool: RunnerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[Any] = []
    monkeypatch.setattr(runner_pool.ray, "kill", lambda actor, no_restart: killed.append((actor, no_restart)))
    now = 100.0
    monkeypatch.setattr(runner_pool.time, "monotonic", lambda: now)
    pool.send(1, None)
    now = 159.0
    pool.hear()
    assert killed == []
    now = 161.0
    pool.hear()
    pool.hear()
    assert killed == [("actor 1", False)]
    assert pool.stats.faults["num_env_runners_hung"] == 1


def test_an_error_says_that_no_runner_came_back_in_time(pool: RunnerPool) -> None:
    pool._manager.healthy = []
    with pytest.raises(RuntimeError, match=r"none of the 2 env runners has come back within 0.2 s"):
        [pool.hear() for _ in range(100)]


def test_runners_that_die_again_and_again_without_an_answer_are_an_error(pool: RunnerPool) -> None:
    pool._group.back = [1, 2]
    for _ in range(3):
        pool.restore()
    with pytest.raises(EnvironmentFailed, match=r"env 'X': its runners died.* 8 times in a row"):
        pool.restore()


def test_an_answer_in_between_forgives_the_restarts_before_it(pool: RunnerPool) -> None:
    pool._group.back = [1, 2]
    for _ in range(10):
        pool.restore()
        pool._group.ready = [(1, RolloutResult("a"))]
        pool.hear()
