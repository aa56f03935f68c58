"""The driver's side of the env runners: sends requests, hears answers, and replaces runners that hang or die.

Who is asked for what is up to a sampler (samplers.py). Only references pass through here, never a rollout.

This is the only file that reaches into RLlib's private names: Ray 2.60 has no public ones for these.
    EnvRunnerGroup._worker_manager                        which runners are healthy
    FaultTolerantActorManager._in_flight_req_to_actor_id  which runner works on which request
    FaultTolerantActorManager._actors                     the handle of a runner, to kill one that hangs
    ray._private.worker._global_node                      whether this process started the cluster"""

from __future__ import annotations

import logging
import time
from collections import Counter
from typing import Any

import ray
from ray.rllib.core import COMPONENT_RL_MODULE
from ray.rllib.env.env_runner_group import EnvRunnerGroup

from algorithms.rl.env_runner import VectorEnvRunner, collect_rollout
from algorithms.rl.rollout_batch import RolloutResult
from algorithms.rl.rollout_stats import RolloutStats
from algorithms.rl.stepper import EnvironmentFailed
from algorithms.rl.whole_episodes import EpisodeRequest

logger = logging.getLogger("ray.rllib")

TAG = "collect"

STOP_S = 10.0
"""Seconds that runners get to finish their requests when the algorithm is stopped."""

MAX_SILENT_RESTARTS = 3
"""Restarts per runner without an answer from any runner in between."""

POLL_S = 0.5
"""Seconds between looks at runners that do not answer."""


class RunnerPool:
    """The env runners of a group, remote or in this process, and the weights that they are to use."""

    def __init__(self, group: EnvRunnerGroup, config: Any, stats: RolloutStats) -> None:
        self._group, self._config = group, config
        self.stats = stats
        self.weights_version = -1
        self._weights: Any = None
        self._heard_at: dict[int, float] = {}
        self._num_silent_restarts = 0
        self._alone_since: float | None = None

    @property
    def _manager(self) -> Any:
        return self._group._worker_manager

    @property
    def num_remote(self) -> int:
        """Number of remote runners; 0 if the one in this process steps the environments."""
        return int(self._group.num_remote_env_runners())

    def broadcast(self, weights: Any, version: int) -> None:
        """Use these weights in all later requests: arrays by name, or a reference to them."""
        put = self.num_remote > 0 and not isinstance(weights, ray.ObjectRef)
        self._weights = ray.put(weights) if put else weights
        self.weights_version = version

    # Requests and answers

    def _request(self, request: EpisodeRequest | None) -> dict[str, Any]:
        return {
            "env_steps": self.stats.env_steps,
            "weights": self._weights,
            "weights_version": self.weights_version,
            "request": request,
        }

    def collect_here(self, request: EpisodeRequest | None) -> RolloutResult:
        """Return the rollout of the runner in this process."""
        arguments = self._request(request)
        if isinstance(self._weights, ray.ObjectRef):
            arguments["weights"] = ray.get(self._weights)
        result: RolloutResult = self._group.local_env_runner.collect(**arguments)
        return result

    def num_in_flight(self) -> Counter[int]:
        """Return the number of requests in flight by runner."""
        in_flight = self._manager._in_flight_req_to_actor_id.values()
        return Counter(runner for tag, runner in in_flight if tag == TAG)

    def idle_runners(self) -> list[int]:
        """Return the healthy runners without a request in flight."""
        busy = self.num_in_flight()
        return [runner for runner in self._manager.healthy_actor_ids() if not busy[runner]]

    def send(self, runner: int, request: EpisodeRequest | None) -> bool:
        """Send a request to an idle runner; return whether that worked."""
        arguments = self._request(request)
        sent = self._group.foreach_env_runner_async(
            collect_rollout, tag=TAG, kwargs=arguments, remote_worker_ids=[runner]
        )
        self._heard_at[runner] = time.monotonic()
        return bool(sent)

    def fill(self) -> None:
        """Send requests for steps to every healthy runner, as many as it may have in flight."""
        for runner in self.idle_runners():
            self._heard_at[runner] = time.monotonic()
        while self._group.foreach_env_runner_async(collect_rollout, tag=TAG, kwargs=self._request(None)):
            pass

    def hear(self) -> list[tuple[int, RolloutResult]]:
        """Return the answers that are there, with their runners; wait a little if there are none.

        It kills runners that hang. If none is healthy, it looks for those that Ray has brought back.
        Raises EnvironmentFailed if runners keep dying, RuntimeError if none comes back in time.
        """
        in_flight = self._manager._in_flight_req_to_actor_id.items()
        refs = [ref for ref, (tag, _) in in_flight if tag == TAG]
        if refs:
            ray.wait(refs, num_returns=1, timeout=POLL_S)
        answers: list[tuple[int, RolloutResult]] = self._group.fetch_ready_async_reqs(tags=[TAG])
        for runner, _ in answers:
            self._heard_at[runner] = time.monotonic()
            self._num_silent_restarts = 0
        self._kill_hung()
        if answers or self._manager.num_healthy_actors():
            self._alone_since = None
        else:
            self._await_runners()
        return sorted(answers, key=lambda answer: answer[0])

    def drop_answers(self) -> None:
        """Discard the results of requests that are in flight."""
        self._group.fetch_ready_async_reqs(tags=[TAG], timeout_seconds=self._config.sample_timeout_s)

    # Runners that hang or die

    def _kill_hung(self) -> None:
        """Have Ray replace the runners that have not answered for `sample_timeout_s`."""
        busy = self.num_in_flight()
        for runner in self._manager.healthy_actor_ids():
            silent_s = time.monotonic() - self._heard_at.get(runner, time.monotonic())
            if busy[runner] and silent_s > self._config.sample_timeout_s:
                logger.error("env runner %d has not answered for %.0f s and is replaced", runner, silent_s)
                ray.kill(self._manager._actors[runner], no_restart=False)
                self.stats.faults["num_env_runners_hung"] += 1
                self._heard_at[runner] = time.monotonic()

    def _await_runners(self) -> None:
        """Look for a runner that came back. Raises RuntimeError once that has taken too long."""
        now = time.monotonic()
        self._alone_since = now if self._alone_since is None else self._alone_since
        patience_s = self._config.env_runner_restore_timeout_s
        if now - self._alone_since > patience_s:
            raise RuntimeError(
                f"none of the {self._manager.num_actors()} env runners has come back "
                f"within {patience_s:g} s; see Ray's logs"
            )
        if not self.restore(timeout_s=POLL_S):
            time.sleep(POLL_S / 10)

    def restore(self, timeout_s: float | None = None) -> list[int]:
        """Return the runners that Ray has brought back since the last call. Raises EnvironmentFailed."""
        restored: list[int] = self._group.probe_unhealthy_env_runners(timeout_seconds=timeout_s)
        self._num_silent_restarts += len(restored)
        if self._num_silent_restarts > MAX_SILENT_RESTARTS * self._manager.num_actors():
            raise EnvironmentFailed(
                f"env {self._config.env!r}: its runners died, or did not answer within sample_timeout_s "
                f"({self._config.sample_timeout_s:g} s), {self._num_silent_restarts} times in a row; "
                "Ray's logs of the workers may say why"
            )
        return restored

    def stop_silent(self) -> None:
        """Kill for good the runners that do not answer within STOP_S: RLlib would wait for them forever."""
        runners = {ref: runner for ref, (_, runner) in self._manager._in_flight_req_to_actor_id.items()}
        if runners:
            _, silent = ray.wait(list(runners), num_returns=len(runners), timeout=STOP_S)
            for runner in {runners[ref] for ref in silent}:
                ray.kill(self._manager._actors[runner])

    # Checkpoints

    def runner_states(self) -> dict[int, dict[str, Any]]:
        """Return the states of the remote runners that do not hang, by index. RLlib saves the local one."""
        if not self.num_remote:
            return {}
        timeout_s = self._config.sample_timeout_s
        return dict(
            self._group.foreach_env_runner(_state_of, local_env_runner=False, timeout_seconds=timeout_s)
        )

    def set_runner_states(self, states: dict[int, dict[str, Any]]) -> None:
        """Restore the runners, and count those that begin new episodes: their environments were not saved."""
        if self.num_remote and states:
            kept = sum(
                self._group.foreach_env_runner(
                    _set_state_of,
                    kwargs={"states": ray.put(states)},
                    local_env_runner=False,
                    timeout_seconds=self._config.sample_timeout_s,
                )
            )
        else:
            kept = self._group.local_env_runner is not None and self._group.local_env_runner.has_begun
        num_new = max(1, self.num_remote) - kept
        if num_new:
            logger.warning(
                "%d env runners begin with new episodes: their environments were not saved", num_new
            )
        self.stats.faults["num_env_runners_reset_on_restore"] += num_new


def _state_of(runner: VectorEnvRunner) -> tuple[int, dict[str, Any]]:
    return runner.worker_index, runner.get_state(not_components=COMPONENT_RL_MODULE)


def _set_state_of(runner: VectorEnvRunner, states: dict[int, dict[str, Any]]) -> bool:
    """Give a runner its own state; return whether its environments are in the midst of their episodes."""
    if runner.worker_index in states:
        runner.set_state(states[runner.worker_index])
    return runner.has_begun


def require_resources(config: Any) -> None:
    """Raise ValueError if this process started the cluster, and it is too small for the config's actors.

    RLlib would wait forever. Other clusters may grow, and a trial of Tune has its resources already.
    """
    if not ray.is_initialized():
        ray.init()  # as RLlib would, a little later
    node = ray._private.worker._global_node
    if node is None or not node.is_head() or ray.util.get_current_placement_group() is not None:
        return
    num_learners, cpus_per_learner = config.num_learners, config.num_cpus_per_learner
    if cpus_per_learner == "auto":
        cpus_per_learner = 0 if config.num_gpus_per_learner else 1
    evaluating = config.evaluation_num_env_runners if config.evaluation_interval else 0
    runners = config.num_env_runners + evaluating
    cpus = runners * config.num_cpus_per_env_runner + num_learners * cpus_per_learner
    gpus = runners * config.num_gpus_per_env_runner + max(1, num_learners) * config.num_gpus_per_learner
    for kind, needed in (("CPU", cpus), ("GPU", gpus)):
        there = ray.cluster_resources().get(kind, 0)
        if needed > there:
            raise ValueError(
                f"num_env_runners {config.num_env_runners}, evaluation_num_env_runners {evaluating}, "
                f"num_learners {num_learners} need {needed:g} {kind}s, and Ray has {there:g}"
            )
