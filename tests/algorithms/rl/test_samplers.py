"""Samplers over a made-up pool: who is asked, what an answer does, and how lost requests are repeated."""

from __future__ import annotations

from collections import Counter, deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algorithms.rl.rollout_batch import RolloutResult
from algorithms.rl.rollout_stats import RolloutStats
from algorithms.rl.samplers import BatchSampler, RequestState, StreamSampler
from algorithms.rl.stepper import EnvironmentFailed
from algorithms.rl.whole_episodes import EpisodeRequest


class Pool:
    """Runners 1 to `num_remote`. `script` lists, per look, the runners that answer and those that die."""

    def __init__(self, num_remote: int, *script: tuple[list[int], list[int]]) -> None:
        self.num_remote, self.weights_version = num_remote, 5
        self.stats = RolloutStats(window=10)
        self.script = deque(script)
        self.in_flight: dict[int, list[Any]] = {runner: [] for runner in range(1, num_remote + 1)}
        self.sent: list[tuple[int, Any]] = []
        self.num_dropped = self.num_filled = 0

    def num_in_flight(self) -> Counter[int]:
        return Counter({runner: len(requests) for runner, requests in self.in_flight.items() if requests})

    def idle_runners(self) -> list[int]:
        return [runner for runner, requests in self.in_flight.items() if not requests]

    def send(self, runner: int, request: Any) -> bool:
        self.in_flight[runner].append(request)
        self.sent.append((runner, request))
        return True

    def fill(self) -> None:
        self.num_filled += 1

    def collect_here(self, request: Any) -> RolloutResult:
        return RolloutResult(batch=request, weights_version=self.weights_version)

    def hear(self) -> list[tuple[int, RolloutResult]]:
        answering, dying = self.script.popleft() if self.script else (list(self.num_in_flight()), [])
        for runner in dying:
            self.in_flight[runner].clear()
        return [(runner, self.answer(runner)) for runner in answering]

    def answer(self, runner: int) -> RolloutResult:
        request = self.in_flight[runner].pop(0) if self.in_flight[runner] else None
        return RolloutResult(batch=request, weights_version=self.weights_version)

    def drop_answers(self) -> None:
        self.num_dropped += 1

    def runner_states(self) -> dict[int, Any]:
        return {1: {"obs": 3}}

    def set_runner_states(self, states: dict[int, Any]) -> None:
        self.restored = states


def requests(*num_episodes: int) -> list[EpisodeRequest]:
    return [EpisodeRequest(num, 0, (3, 0, i)) for i, num in enumerate(num_episodes)]


def batches(results: list[RolloutResult]) -> list[Any]:
    return [result.batch for result in results]


def test_every_request_is_answered_once_and_in_order() -> None:
    """Three requests and two runners: runner 2 answers first, and takes the third request."""
    pool = Pool(2, ([2], []), ([], []), ([1, 2], []))
    asked = requests(4, 3, 2)
    assert batches(BatchSampler(pool).collect(asked)) == asked  # type: ignore[arg-type]
    assert pool.sent == [(1, asked[0]), (2, asked[1]), (2, asked[2])]


def test_a_request_waits_is_in_flight_and_is_done() -> None:
    pool = Pool(1, ([1], []))
    sampler = BatchSampler(pool)  # type: ignore[arg-type]
    sampler.ask(requests(2, 1))
    assert [asked.state for asked in sampler._batch] == [RequestState.IN_FLIGHT, RequestState.WAITING]
    sampler._hear()
    assert [asked.state for asked in sampler._batch] == [RequestState.DONE, RequestState.WAITING]
    assert [asked.runner for asked in sampler._batch] == [1, None]


def test_a_request_of_a_lost_runner_goes_to_another_and_is_counted() -> None:
    pool = Pool(2, ([], [1]), ([2], []), ([1], []))
    asked = requests(4, 3)
    assert batches(BatchSampler(pool).collect(asked)) == asked  # type: ignore[arg-type]
    assert pool.stats.faults["num_rollouts_lost"] == 1
    assert pool.sent == [(1, asked[0]), (2, asked[1]), (1, asked[0])]


def test_requests_that_were_asked_for_already_are_not_sent_again() -> None:
    pool = Pool(2)
    sampler = BatchSampler(pool)  # type: ignore[arg-type]
    sampler.ask(requests(4, 3))
    sampler.ask(requests(4, 3))
    assert batches(sampler.collect(requests(4, 3))) == requests(4, 3)
    assert len(pool.sent) == 2
    sampler.collect(requests(4, 3))  # a new batch
    assert len(pool.sent) == 4


def test_answers_of_other_weights_are_not_taken() -> None:
    """Runner 1 still works on an older request when the batch is asked for; its answer to that is dropped."""
    pool = Pool(1, ([1], []), ([1], []))
    pool.in_flight[1].append("older")
    answer = pool.answer

    def older_answer(runner: int) -> RolloutResult:
        result = answer(runner)
        result.weights_version -= result.batch == "older"
        return result

    pool.answer = older_answer  # type: ignore[method-assign]
    assert batches(BatchSampler(pool).collect(requests(4))) == requests(4)  # type: ignore[arg-type]


def test_an_interrupted_batch_is_forgotten() -> None:
    pool = Pool(2)
    sampler = BatchSampler(pool)  # type: ignore[arg-type]

    def interrupt() -> Any:
        raise KeyboardInterrupt

    hear, pool.hear = pool.hear, interrupt  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        sampler.collect(requests(4, 3))
    assert sampler._batch == []
    pool.hear = hear  # type: ignore[method-assign]
    pool.in_flight = {1: [], 2: []}
    assert batches(sampler.collect(requests(4, 3))) == requests(4, 3)


@given(
    num_runners=st.integers(1, 4),
    num_requests=st.integers(1, 6),
    fates=st.lists(
        st.lists(st.sampled_from(["answers", "dies", "works"]), min_size=4, max_size=4), max_size=8
    ),
)
def test_every_request_is_answered_in_order_whatever_the_runners_do(
    num_runners: int, num_requests: int, fates: list[list[str]]
) -> None:
    """A runner answers, dies and comes back at once, or goes on working; after the drawn looks all answer."""
    pool = Pool(num_runners)
    hear, looks, num_deaths = pool.hear, deque(fates), 0

    def drawn() -> list[tuple[int, RolloutResult]]:
        nonlocal num_deaths
        if looks:
            busy = list(pool.num_in_flight())
            fate = dict(zip(range(1, 5), looks.popleft(), strict=True))
            dying = [runner for runner in busy if fate[runner] == "dies"]
            num_deaths += len(dying)
            pool.script.append(([runner for runner in busy if fate[runner] == "answers"], dying))
        return hear()

    pool.hear = drawn  # type: ignore[method-assign]
    asked = requests(*range(1, num_requests + 1))
    assert batches(BatchSampler(pool).collect(asked)) == asked  # type: ignore[arg-type]
    assert pool.stats.faults["num_rollouts_lost"] == num_deaths
    assert len(pool.sent) == num_requests + num_deaths


def test_a_failing_environment_is_an_error() -> None:
    pool = Pool(1)
    pool.answer = lambda runner: RolloutResult(None, weights_version=5, error="env 'X' failed")  # type: ignore[method-assign]
    with pytest.raises(EnvironmentFailed, match="env 'X' failed"):
        BatchSampler(pool).collect(requests(1))  # type: ignore[arg-type]
    pool.in_flight[1].append(None)
    with pytest.raises(EnvironmentFailed, match="env 'X' failed"):
        StreamSampler(pool).collect()  # type: ignore[arg-type]


def test_without_remote_runners_the_local_one_plays_everything() -> None:
    pool = Pool(0)
    assert batches(BatchSampler(pool).collect(requests(2, 1))) == requests(2, 1)  # type: ignore[arg-type]
    assert batches(StreamSampler(pool).collect()) == [None]  # type: ignore[arg-type]
    StreamSampler(pool).ask()  # type: ignore[arg-type]
    assert pool.num_filled == 0


def test_a_stream_takes_whoever_is_ready_and_keeps_the_runners_busy() -> None:
    pool = Pool(3, ([], []), ([2], []))
    sampler = StreamSampler(pool)  # type: ignore[arg-type]
    assert len(sampler.collect()) == 1
    assert pool.num_filled == 2  # before each look
    sampler.ask()
    assert pool.num_filled == 3


def test_a_synchronous_round_waits_for_every_runner_and_asks_nobody_in_between() -> None:
    pool = Pool(3, ([2], []), ([1, 3], []))
    sampler = StreamSampler(pool, synchronous=True)  # type: ignore[arg-type]
    assert len(sampler.collect()) == 3
    assert pool.sent == [(1, None), (2, None), (3, None)]
    sampler.ask()
    assert (len(pool.sent), pool.num_filled) == (3, 0)


def test_a_stream_saves_its_runners_and_a_batch_has_nothing_to_save() -> None:
    pool = Pool(1)
    stream, batch = StreamSampler(pool), BatchSampler(pool)  # type: ignore[arg-type]
    assert (stream.state(), batch.state()) == ({1: {"obs": 3}}, {})
    stream.set_state({1: {"obs": 4}})
    batch.set_state({})
    assert pool.restored == {1: {"obs": 4}}
    assert pool.num_dropped == 2  # answers of before the restore
