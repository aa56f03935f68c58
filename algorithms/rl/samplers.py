"""How an algorithm asks its runners: for a stream of fragments, or for batches of whole episodes.

    StreamSampler   every remote runner always has requests in flight; whoever answers is asked again.
                    Synchronous: every runner is asked once, and all are waited for
    BatchSampler    requests are fixed beforehand, and each of them is answered, by whichever runner

                ask        an idle runner takes it              its answer comes
    request ---------> WAITING ------------------> IN_FLIGHT ----------------------> DONE
                          ^                            |
                          +--- its runner died or hung +

Without remote runners, the one in this process plays everything."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from algorithms.rl.rollout_batch import RolloutResult
from algorithms.rl.runner_pool import RunnerPool
from algorithms.rl.stepper import EnvironmentFailed
from algorithms.rl.whole_episodes import EpisodeRequest

Request = EpisodeRequest | None
"""Whole episodes, or (None) `rollout_fragment_length` steps of every environment."""


class RequestState(enum.Enum):
    """Where a request is; see the drawing above."""

    WAITING = enum.auto()
    IN_FLIGHT = enum.auto()
    DONE = enum.auto()


@dataclass
class Asked:
    """A request, its state, the last runner that it was sent to, and its result once it is done."""

    request: Request
    state: RequestState = RequestState.WAITING
    runner: int | None = None
    result: RolloutResult | None = None


class BatchSampler:
    """Has every request of a batch answered once; if its runner dies or hangs, another gets the request."""

    def __init__(self, pool: RunnerPool) -> None:
        self._pool = pool
        self._batch: list[Asked] = []

    def ask(self, requests: Sequence[Request]) -> None:
        """Have remote runners begin with these requests; the next `collect` waits for them.

        Requests that were asked for already stay as they are.
        """
        if self._pool.num_remote and list(requests) != [asked.request for asked in self._batch]:
            self._batch = [Asked(request) for request in requests]
            self._send_waiting()

    def collect(self, requests: Sequence[Request]) -> list[RolloutResult]:
        """Return the result of every request, in order.

        Raises EnvironmentFailed if an environment keeps failing, RuntimeError if no runner comes back.
        """
        if not self._pool.num_remote:
            return _without_errors([self._pool.collect_here(request) for request in requests])
        self.ask(requests)
        try:
            while not all(asked.state is RequestState.DONE for asked in self._batch):
                self._hear()
                self._send_waiting()
            return _without_errors([asked.result for asked in self._batch if asked.result is not None])
        finally:
            self._batch = []

    def _hear(self) -> None:
        """Note the answers that came, and the requests that were lost with their runner."""
        in_flight = {asked.runner: asked for asked in self._batch if asked.state is RequestState.IN_FLIGHT}
        for runner, result in self._pool.hear():
            if runner in in_flight and result.weights_version == self._pool.weights_version:
                asked = in_flight.pop(runner)
                asked.state, asked.result = RequestState.DONE, result
        busy = self._pool.num_in_flight()
        for asked in in_flight.values():
            if asked.runner not in busy:
                asked.state = RequestState.WAITING
                self._pool.stats.faults["num_rollouts_lost"] += 1

    def _send_waiting(self) -> None:
        waiting = [asked for asked in self._batch if asked.state is RequestState.WAITING]
        for asked, runner in zip(waiting, self._pool.idle_runners(), strict=False):
            if self._pool.send(runner, asked.request):
                asked.state, asked.runner = RequestState.IN_FLIGHT, runner

    def state(self) -> dict[int, dict[str, Any]]:
        """Return nothing: every request begins with new episodes."""
        return {}

    def set_state(self, state: dict[int, dict[str, Any]]) -> None:
        """Discard all requests, and the results of those in flight."""
        self._pool.drop_answers()
        self._batch = []


class StreamSampler:
    """Collects fragments of `rollout_fragment_length` steps of every environment."""

    def __init__(self, pool: RunnerPool, synchronous: bool = False) -> None:
        self._pool, self._synchronous = pool, synchronous
        self._rounds = BatchSampler(pool)

    @property
    def _streams(self) -> bool:
        return self._pool.num_remote > 0 and not self._synchronous

    def ask(self) -> None:
        """Keep the runners of a stream busy."""
        if self._streams:
            self._pool.fill()

    def collect(self) -> list[RolloutResult]:
        """Return the results that are ready, at least one; if synchronous, one of every runner.

        Raises EnvironmentFailed if an environment keeps failing, RuntimeError if no runner comes back.
        """
        if not self._streams:
            return self._rounds.collect([None] * max(1, self._pool.num_remote))
        while True:
            self.ask()
            answers = self._pool.hear()
            if answers:
                return _without_errors([result for _, result in answers])

    def state(self) -> dict[int, dict[str, Any]]:
        """Return the states of the remote runners. Rollouts in flight are not part of it."""
        return self._pool.runner_states()

    def set_state(self, state: dict[int, dict[str, Any]]) -> None:
        """Restore the runners, and discard the results of requests in flight."""
        self._rounds.set_state({})
        self._pool.set_runner_states(state)


def _without_errors(results: list[RolloutResult]) -> list[RolloutResult]:
    """Return the results. Raises EnvironmentFailed if one of them is the report of a failing environment."""
    for result in results:
        if result.error:
            raise EnvironmentFailed(result.error)
    return results
