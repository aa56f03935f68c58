"""The driver's side of the rollouts: which env runner is asked for what, with which weights, and what becomes of those that fail.

    one runner, here         collect() takes its steps in this process
    remote, asynchronous     every runner always has requests waiting; whoever is ready is heard, and is asked again with the newest weights
    remote, synchronous      every runner is asked once, and all are waited for: the same numbers at every run
    batches of episodes      shared out beforehand; every share is waited for, and one whose runner is lost is asked of another

Only references pass through here, never a rollout's columns."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from typing import Any

import numpy as np
import ray
from ray.rllib.core import COMPONENT_RL_MODULE
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    EPISODE_LEN_MEAN,
    EPISODE_RETURN_MAX,
    EPISODE_RETURN_MEAN,
    EPISODE_RETURN_MIN,
    NUM_ENV_STEPS_SAMPLED,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_EPISODES,
    NUM_EPISODES_LIFETIME,
)
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from algorithms.rl.env_runner import (
    EnvironmentFailed,
    EpisodeBatch,
    Rollout,
    VectorEnvRunner,
    collect_rollout,
)

logger = logging.getLogger("ray.rllib")

FAULTS = (
    "num_dropped_env_steps",
    "num_episodes_lost",
    "num_env_failures",
    "num_env_runners_hung",
    "num_rollouts_lost",
    "num_env_runners_reset_on_restore",
)
"""What is counted of what went wrong, since the run began; reported under `env_runners`."""

TAG = "collect"
STOP_S = 10.0
"""Seconds that runners have to finish what they do when the algorithm is stopped."""

MOST_SILENT_RESTARTS = 3
"""Per runner, with no rollout from any of them in between."""

Share = EpisodeBatch | None
"""What one runner is asked for: whole episodes, or `rollout_fragment_length` steps."""

POLL_S = 0.5
"""Seconds between looks at runners that do not answer."""


class Collector:
    """Asks the env runners of a group for rollouts, and counts what comes of it."""

    def __init__(self, group: EnvRunnerGroup, config: Any) -> None:
        self._group, self._config = group, config
        self._manager = group._worker_manager
        self._weights: Any = None
        self._weights_version = -1
        self._heard_at: dict[int, float] = {}
        self._num_silent_restarts = 0
        self._shares: list[Share] = []
        self._todo: deque[int] = deque()
        self._asked: dict[int, int] = {}
        """The shares of the batch under way, which of them nobody has been asked for, and by whom the others are played."""
        self.env_steps = 0
        """Environment steps taken by all runners, those to learn from."""
        self.num_episodes = 0
        self.faults = dict.fromkeys(FAULTS, 0)
        """What went wrong, since the run began."""
        window = config.metrics_num_episodes_for_smoothing
        self._returns: deque[float] = deque(maxlen=window)
        self._lengths: deque[int] = deque(maxlen=window)

    def broadcast(self, weights: Any, version: int) -> None:
        """Have every later request made with these weights: arrays by name, or a reference to them."""
        remote = self._group.num_remote_env_runners() > 0
        self._weights = ray.put(weights) if remote and not isinstance(weights, ray.ObjectRef) else weights
        self._weights_version = version

    def collect(self) -> list[Rollout]:
        """Return the rollouts that are ready, at least one. Raises EnvironmentFailed, or RuntimeError where no runner comes back."""
        num_remote = self._group.num_remote_env_runners()
        if num_remote and self._config.synchronous:
            rollouts = self.collect_shares([None] * num_remote)
        elif num_remote:
            self._ask()
            rollouts = _without_errors(self._answers())
        else:
            rollouts = self.collect_shares([None])
        self.count(rollouts)
        if num_remote and not self._config.synchronous:
            self._ask()  # so that nobody waits while the learner learns
        return rollouts

    def collect_shares(self, shares: list[Share]) -> list[Rollout]:
        """Return the rollout of every share, in order, not yet counted; shares of runners that die or hang are asked of others.

        Raises as `collect`.
        """
        if not self._group.num_remote_env_runners():
            return _without_errors([self._collect_here(share) for share in shares])
        self.ask_shares(shares)
        try:
            return _without_errors(self._shares_answered())
        finally:
            self._forget_shares()

    def _forget_shares(self) -> None:
        """Wait for no share any more; answers that still come are nobody's."""
        self._shares, self._asked = [], {}
        self._todo.clear()

    def ask_shares(self, shares: list[Share]) -> None:
        """Have remote runners begin with these shares, which the next `collect_shares` waits for; those that are asked for already stay."""
        if self._group.num_remote_env_runners() and shares != self._shares:
            self._shares, self._asked = shares, {}
            self._todo = deque(range(len(shares)))
            self._ask_todo()

    def _collect_here(self, share: Share) -> Rollout:
        weights = ray.get(self._weights) if isinstance(self._weights, ray.ObjectRef) else self._weights
        rollout: Rollout = self._group.local_env_runner.collect(
            self.env_steps, weights, self._weights_version, share
        )
        return rollout

    def _request(self, **more: Any) -> dict[str, Any]:
        return {
            "env_steps": self.env_steps,
            "weights": self._weights,
            "weights_version": self._weights_version,
            **more,
        }

    def _ask(self) -> None:
        """Send requests to every healthy runner, as many as may wait."""
        waiting = self._num_waiting()
        for actor_id in self._manager.healthy_actor_ids():
            if not waiting[actor_id]:
                self._heard_at[actor_id] = time.monotonic()
        while self._group.foreach_env_runner_async(collect_rollout, tag=TAG, kwargs=self._request()):
            pass

    def _ask_todo(self) -> None:
        """Ask runners that have nothing to do for the shares that nobody has been asked for."""
        waiting = self._num_waiting()
        for actor_id in self._manager.healthy_actor_ids():
            if not self._todo:
                return
            if not waiting[actor_id]:
                request = self._request(batch=self._shares[self._todo[0]])
                if self._group.foreach_env_runner_async(
                    collect_rollout, tag=TAG, kwargs=request, remote_worker_ids=[actor_id]
                ):
                    self._asked[actor_id] = self._todo.popleft()
                    self._heard_at[actor_id] = time.monotonic()

    def _num_waiting(self) -> Counter[int]:
        """Return how many requests are under way, by runner."""
        return Counter(
            actor_id for tag, actor_id in self._manager._in_flight_req_to_actor_id.values() if tag == TAG
        )

    def _answers(self) -> list[Rollout]:
        """Wait for an answer; runners that died or hang are dealt with meanwhile."""
        alone_since = time.monotonic()
        while True:
            answers = self._hear()
            if answers:
                return [rollout for _, rollout in answers]
            if self._manager.num_healthy_actors():
                alone_since = time.monotonic()
            elif self._runners_came_back(alone_since):
                self._ask()

    def _shares_answered(self) -> list[Rollout]:
        """Wait for the answers to all shares."""
        answers: dict[int, Rollout] = {}
        alone_since = time.monotonic()
        while len(answers) < len(self._shares):
            for actor_id, rollout in self._hear():
                if actor_id in self._asked and rollout.weights_version == self._weights_version:
                    answers[self._asked.pop(actor_id)] = rollout
            waiting = self._num_waiting()
            for actor_id in [
                actor_id for actor_id in self._asked if not waiting[actor_id]
            ]:  # it died, or was killed
                self._todo.append(self._asked.pop(actor_id))
                self.faults["num_rollouts_lost"] += 1
            self._ask_todo()
            if self._manager.num_healthy_actors():
                alone_since = time.monotonic()
            else:
                self._runners_came_back(alone_since)
        return [answers[share] for share in range(len(self._shares))]

    def _hear(self) -> list[tuple[int, Rollout]]:
        """Return the answers that are there, and by whom; wait a little if there are none. Replace runners that hang."""
        waiting = [ref for ref, (tag, _) in self._manager._in_flight_req_to_actor_id.items() if tag == TAG]
        if waiting:
            ray.wait(waiting, num_returns=1, timeout=POLL_S)
        answers: list[tuple[int, Rollout]] = self._group.fetch_ready_async_reqs(tags=[TAG])
        for actor_id, _ in answers:
            self._heard_at[actor_id] = time.monotonic()
            self._num_silent_restarts = 0
        self._kill_hung()
        return sorted(answers, key=lambda answer: answer[0])

    def _runners_came_back(self, since: float) -> bool:
        """Return whether one has, looking a little while; raise RuntimeError once it has taken too long."""
        patience_s = self._config.env_runner_restore_timeout_s
        if time.monotonic() - since > patience_s:
            raise RuntimeError(
                f"none of the {self._manager.num_actors()} env runners has come back within {patience_s:g} s; see Ray's logs"
            )
        came_back = bool(self.restore(timeout_s=POLL_S))
        if not came_back:
            time.sleep(POLL_S / 10)
        return came_back

    def _kill_hung(self) -> None:
        """Have Ray replace the runners that have not answered for `sample_timeout_s`."""
        waiting = self._num_waiting()
        for actor_id in self._manager.healthy_actor_ids():
            silent_s = time.monotonic() - self._heard_at.get(actor_id, time.monotonic())
            if waiting[actor_id] and silent_s > self._config.sample_timeout_s:
                logger.error("env runner %d has not answered for %.0f s and is replaced", actor_id, silent_s)
                ray.kill(self._manager._actors[actor_id], no_restart=False)
                self.faults["num_env_runners_hung"] += 1
                self._heard_at[actor_id] = time.monotonic()

    def restore(self, timeout_s: float | None = None) -> list[int]:
        """Return the runners that Ray has brought back since the last call. They take the weights with their next request."""
        restored: list[int] = self._group.probe_unhealthy_env_runners(timeout_seconds=timeout_s)
        self._num_silent_restarts += len(restored)
        if self._num_silent_restarts > MOST_SILENT_RESTARTS * self._manager.num_actors():
            times = f"{self._num_silent_restarts} times in a row"
            raise EnvironmentFailed(
                f"env {self._config.env!r}: its runners died, or did not answer within sample_timeout_s "
                f"({self._config.sample_timeout_s:g} s), {times}; Ray's logs of the workers may say why"
            )
        return restored

    def stop_silent(self) -> None:
        """Kill the runners that do not answer within STOP_S, for good: RLlib would wait for them for ever when it stops them."""
        waiting = {ref: actor_id for ref, (_, actor_id) in self._manager._in_flight_req_to_actor_id.items()}
        if waiting:
            _, silent = ray.wait(list(waiting), num_returns=len(waiting), timeout=STOP_S)
            for actor_id in {waiting[ref] for ref in silent}:
                ray.kill(self._manager._actors[actor_id])

    def count(self, rollouts: list[Rollout]) -> None:
        """Add up their steps, episodes and faults."""
        for rollout in rollouts:
            self.env_steps += rollout.num_env_steps
            self.num_episodes += len(rollout.episodes.returns)
            self._returns.extend(rollout.episodes.returns.tolist())
            self._lengths.extend(rollout.episodes.lengths.tolist())
            self.faults["num_dropped_env_steps"] += rollout.num_dropped
            self.faults["num_episodes_lost"] += rollout.episodes.num_lost
            self.faults["num_env_failures"] += rollout.num_failures

    def log(self, metrics: MetricsLogger, rollouts: list[Rollout]) -> None:
        """Log what the rollouts brought, under RLlib's keys; returns and lengths are means over the last episodes."""

        def log(name: str, value: float, **how: Any) -> None:
            metrics.log_value((ENV_RUNNER_RESULTS, name), value, **how)

        num_env_steps = sum(rollout.num_env_steps for rollout in rollouts)
        log(NUM_ENV_STEPS_SAMPLED, num_env_steps, reduce="sum")
        log(NUM_ENV_STEPS_SAMPLED_LIFETIME, num_env_steps, reduce="lifetime_sum")
        log(NUM_EPISODES, sum(len(rollout.episodes.returns) for rollout in rollouts), reduce="sum")
        log(NUM_EPISODES_LIFETIME, self.num_episodes, reduce="item")
        if self._returns:
            log(EPISODE_RETURN_MEAN, float(np.mean(self._returns)), reduce="item")
            log(EPISODE_RETURN_MIN, min(self._returns), reduce="item")
            log(EPISODE_RETURN_MAX, max(self._returns), reduce="item")
            log(EPISODE_LEN_MEAN, float(np.mean(self._lengths)), reduce="item")
        for name, count in self.faults.items():
            log(name, count, reduce="item")

    # Checkpoints

    def state(self) -> dict[str, Any]:
        """Return the counts, and the state of every remote runner (RLlib saves the local one's). Rollouts under way are not part of it."""
        states: list[tuple[int, dict[str, Any]]] = []
        if (
            self._group.num_remote_env_runners() and not self._config.whole_episodes
        ):  # one that hangs is left out
            states = self._group.foreach_env_runner(
                _state_of, local_env_runner=False, timeout_seconds=self._config.sample_timeout_s
            )
        return {
            "env_steps": self.env_steps,
            "num_episodes": self.num_episodes,
            "faults": dict(self.faults),
            "returns": list(self._returns),
            "lengths": list(self._lengths),
            "runners": dict(states),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on as `state` says. Runners that it does not know, or whose environments can't be pickled, begin with new episodes."""
        self._group.fetch_ready_async_reqs(
            tags=[TAG], timeout_seconds=self._config.sample_timeout_s
        )  # of before, and for nobody
        self.env_steps, self.num_episodes, self.faults = (
            state["env_steps"],
            state["num_episodes"],
            dict(state["faults"]),
        )
        self._returns.clear()
        self._lengths.clear()
        self._returns.extend(state["returns"])
        self._lengths.extend(state["lengths"])
        self._forget_shares()
        if self._config.whole_episodes:  # no episode goes on from one batch into the next
            return
        if self._group.num_remote_env_runners() and state["runners"]:
            states = ray.put(state["runners"])
            timeout_s = self._config.sample_timeout_s
            kept = sum(
                self._group.foreach_env_runner(
                    _set_state_of,
                    kwargs={"states": states},
                    local_env_runner=False,
                    timeout_seconds=timeout_s,
                )
            )
        else:
            kept = self._group.local_env_runner is not None and self._group.local_env_runner.has_begun
        num_new = max(1, self._group.num_remote_env_runners()) - kept
        if num_new:
            logger.warning(
                "%d env runners begin with new episodes: their environments could not be saved", num_new
            )
        self.faults["num_env_runners_reset_on_restore"] += num_new


def _without_errors(rollouts: list[Rollout]) -> list[Rollout]:
    """Return the rollouts; raise EnvironmentFailed where there is none, for an environment that keeps failing."""
    for rollout in rollouts:
        if rollout.error:
            raise EnvironmentFailed(rollout.error)
    return rollouts


def _state_of(runner: VectorEnvRunner) -> tuple[int, dict[str, Any]]:
    return runner.worker_index, runner.get_state(not_components=COMPONENT_RL_MODULE)


def _set_state_of(runner: VectorEnvRunner, states: dict[int, dict[str, Any]]) -> bool:
    """Give a runner its own state; return whether its environments go on where they were."""
    if runner.worker_index in states:
        runner.set_state(states[runner.worker_index])
    return runner.has_begun


def require_resources(config: Any) -> None:
    """Raise ValueError where the actors of this config can never start: in a cluster that this process started, and that is too small.

    RLlib itself would wait for ever. A cluster of others may grow, and a trial of Tune has its resources already.
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
    have = ray.cluster_resources()
    for kind, wanted in (("CPU", cpus), ("GPU", gpus)):
        if wanted > have.get(kind, 0):
            parts = f"num_env_runners {config.num_env_runners}, evaluation_num_env_runners {evaluating}, num_learners {num_learners}"
            raise ValueError(f"{parts} need {wanted:g} {kind}s, and Ray has {have.get(kind, 0):g}")
