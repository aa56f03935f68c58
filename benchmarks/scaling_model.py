"""How training and search grow, as pure functions: what each party spends on what, and who is waited for.

DQN        runners play one request while another waits; the driver takes all answers that are there, asks anew, and learns from them
REINFORCE  all play their share of a batch, the policy learns from it; then the value network learns while all play the next
search     one thread takes a trial's report, runs callbacks, and saves the search's state

Costs are in seconds; benchmarks/scaling.py measures what they are fitted to."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

BLOCK_STEPS = 16
"""Whole episodes are gathered in blocks of so many steps (`EPISODE_BLOCK_STEPS`)."""
JITTER = 0.03
"""Share by which a runner's rollouts are longer or shorter."""


@dataclass(frozen=True)
class Costs:
    """What the parties spend. The driver and a learner in its process are one thread; a remote learner is waited for, which is the same."""

    policy_s: float
    """A runner: choosing actions and keeping the books, per step of its environments together."""
    hand_over_s: float
    """A runner: from the end of a rollout to the start of the next one that it was asked for already."""
    step_s: float
    """The driver: a training step, whatever came."""
    answer_s: float
    """The driver: taking an answer and asking anew."""
    runner_s: float
    """The driver: looking at a runner, per training step."""
    pair_s: float
    """The driver: the same, for the square of their number."""
    iteration_s: float
    """The driver: RLlib's, between iterations."""
    learn_s: float
    """The learner: a call."""
    fetch_s: float
    """The learner: getting a rollout out of the object store, and into the replay."""
    env_step_s: float
    """The learner: an env step of it."""
    update_s: float
    """The learner: an update."""


@dataclass(frozen=True)
class Setting:
    """What is run."""

    num_runners: int
    num_envs: int
    length: int
    """`rollout_fragment_length`."""
    env_s: float
    """A step of a runner's environments together."""
    updates_per_env_step: float
    """`training_intensity` over the batch size."""
    in_flight: int = 2
    """`max_requests_in_flight_per_env_runner`."""
    iteration_env_steps: int = 1000
    """`min_sample_timesteps_per_iteration`."""

    @property
    def rollout_env_steps(self) -> int:
        return self.num_envs * self.length


@dataclass(frozen=True)
class Prediction:
    """What comes of it, per second of all that passes."""

    env_steps_per_s: float
    updates_per_s: float
    rollouts_per_s: float
    rollouts_per_training_step: float
    learner_idle_share: float
    runners_idle_share: float
    driver_share: float
    """Of its time that the driver spends on its own work, RLlib's included."""
    weights_lag: float


def play_s(costs: Costs, setting: Setting) -> float:
    """Return how long a runner plays for a rollout."""
    return setting.length * (setting.env_s + costs.policy_s)


def driver_s(costs: Costs, num_runners: int, num_answers: float) -> float:
    """Return the driver's own work in a training step with so many answers."""
    return (
        costs.step_s
        + costs.answer_s * num_answers
        + costs.runner_s * num_runners
        + costs.pair_s * num_runners**2
    )


def learner_s(costs: Costs, num_rollouts: float, num_env_steps: float, num_updates: float) -> float:
    """Return how long a call of the learner takes."""
    return (
        costs.learn_s
        + costs.fetch_s * num_rollouts
        + costs.env_step_s * num_env_steps
        + costs.update_s * num_updates
    )


def ceilings(costs: Costs, setting: Setting) -> dict[str, float]:
    """Return env steps/s that each party could do if nobody else took time; no run is faster than the lowest.

    Driver and learner are at their best where every answer that can wait does: `in_flight` of every runner.
    """
    answers = setting.num_runners * setting.in_flight
    env_steps = answers * setting.rollout_env_steps
    iterations = min(1.0, env_steps / setting.iteration_env_steps)
    driver = driver_s(costs, setting.num_runners, answers) + costs.iteration_s * iterations
    learner = learner_s(costs, answers, env_steps, env_steps * setting.updates_per_env_step)
    return {
        "env runners": setting.num_runners
        * setting.rollout_env_steps
        / (play_s(costs, setting) + costs.hand_over_s),
        "driver": env_steps / driver,
        "learner": env_steps / learner,
        "driver and learner, one after the other": env_steps / (driver + learner),
    }


def simulate(costs: Costs, setting: Setting, num_training_steps: int = 400) -> Prediction:
    """Return what DQN does, event by event: who is ready when, and with which weights. The first quarter is not counted.

    All runners begin together, as they do when they are first asked; what they play takes JITTER more or less, so they drift apart.
    """
    rng = np.random.default_rng(0)
    play, steps = play_s(costs, setting), setting.rollout_env_steps
    heap: list[tuple[float, int]] = []  # (when the answer is there, whose)
    free_at = [0.0] * setting.num_runners  # when the runner has played all that it was asked for
    versions: list[deque[int]] = [deque() for _ in free_at]  # of the weights, per request under way
    idle = 0.0

    def ask(runner: int, now: float, version: int) -> None:
        nonlocal idle
        begins = max(free_at[runner] + costs.hand_over_s, now)
        idle += begins - free_at[runner]
        free_at[runner] = begins + play * rng.uniform(1 - JITTER, 1 + JITTER)
        versions[runner].append(version)
        heapq.heappush(heap, (free_at[runner], runner))

    for runner in range(setting.num_runners):
        for _ in range(setting.in_flight):
            ask(runner, 0.0, 0)
    now = owed = learned = worked = 0.0
    num_rollouts = num_updates = lag = version = since_iteration = 0
    began = 0.0
    for number in range(num_training_steps):
        if number == num_training_steps // 4:
            began, idle, learned, worked, num_rollouts, num_updates, lag = now, 0.0, 0.0, 0.0, 0, 0, 0
        now = max(now, heap[0][0])
        answered = []
        while heap and heap[0][0] <= now:
            answered.append(heapq.heappop(heap)[1])
        drive = driver_s(costs, setting.num_runners, len(answered))
        now += drive
        heard = [versions[runner].popleft() for runner in answered]
        for runner in answered:
            ask(runner, now, version)
        owed += len(answered) * steps * setting.updates_per_env_step
        updates, owed = int(owed), owed - int(owed)
        learn = learner_s(costs, len(answered), len(answered) * steps, updates)
        now += learn
        lag += sum(version - one for one in heard)
        version += updates > 0
        since_iteration += len(answered) * steps
        if since_iteration >= setting.iteration_env_steps:
            since_iteration = 0
            drive += costs.iteration_s
            now += costs.iteration_s
        learned, worked = learned + learn, worked + drive
        num_rollouts, num_updates = num_rollouts + len(answered), num_updates + updates
    took = now - began
    counted = num_training_steps - num_training_steps // 4
    return Prediction(
        env_steps_per_s=num_rollouts * steps / took,
        updates_per_s=num_updates / took,
        rollouts_per_s=num_rollouts / took,
        rollouts_per_training_step=num_rollouts / counted,
        learner_idle_share=1 - learned / took,
        runners_idle_share=idle / (idle + num_rollouts * play),
        driver_share=worked / took,
        weights_lag=lag / num_rollouts,
    )


@dataclass(frozen=True)
class BatchCosts:
    """What REINFORCE's parties spend on a batch."""

    policy_s: float
    hand_over_s: float
    """From asking until a runner begins, and from its end until it is heard."""
    step_s: float
    answer_s: float
    """The driver: a share, asked and answered."""
    pair_s: float
    """The driver: per square of the number of runners."""
    fetch_s: float
    """The learner: per share."""
    env_step_s: float
    """The learner, while runners wait: per env step of the policy's update."""
    fit_env_step_s: float
    """The learner, while they play: per env step of the value network's updates."""


@dataclass(frozen=True)
class BatchSetting:
    """What is run: batches of whole episodes, all of one length."""

    num_runners: int
    num_envs: int
    env_s: float
    num_episodes: int
    """`num_episodes_per_train_batch`."""
    episode_steps: int


def batch_play_s(costs: BatchCosts, setting: BatchSetting) -> float:
    """Return how long the largest share takes: its episodes in rounds, a resetting step between them, in whole blocks."""
    share = math.ceil(setting.num_episodes / setting.num_runners)
    steps = math.ceil(share / setting.num_envs) * (setting.episode_steps + 1) - 1
    return math.ceil(steps / BLOCK_STEPS) * BLOCK_STEPS * (setting.env_s + costs.policy_s)


def batch_rate(costs: BatchCosts, setting: BatchSetting) -> dict[str, float]:
    """Return REINFORCE's env steps/s, and the shares of its time that learner and runners wait."""
    play, shares = batch_play_s(costs, setting), min(setting.num_runners, setting.num_episodes)
    env_steps = setting.num_episodes * setting.episode_steps
    update = costs.fetch_s * shares + costs.env_step_s * env_steps
    fit = costs.fit_env_step_s * env_steps
    drive = costs.step_s + costs.answer_s * shares + costs.pair_s * setting.num_runners**2
    took = max(play + costs.hand_over_s, fit) + update + drive
    return {
        "env_steps_per_s": env_steps / took,
        "learner_idle_share": 1 - (update + fit) / took,
        "env_runners_idle_share": 1 - play / took,
        "driver_share": drive / took,
        "play_share": play / took,
    }


@dataclass(frozen=True)
class HeadCosts:
    """What the head of a search spends."""

    report_s: float
    """Per report: the result, the checkpoint, callbacks."""
    save_s: float
    """Saving the search's state, however small."""
    save_trial_s: float
    """The same, per trial."""
    keep_s: float
    """Reading it back for the copy, however small."""
    keep_trial_s: float
    """The same, per trial."""


def head_share(
    costs: HeadCosts, num_trials: int, reports_per_s: float, saves_per_s: float, keeps_per_s: float
) -> float:
    """Return how much of its time the head of a search works; what comes out above 1 can't be had."""
    saving = saves_per_s * (costs.save_s + costs.save_trial_s * num_trials)
    keeping = keeps_per_s * (costs.keep_s + costs.keep_trial_s * num_trials)
    return reports_per_s * costs.report_s + saving + keeping


def fit(rows: Sequence[Mapping[str, float]], spent: str, per: Mapping[str, str]) -> dict[str, float]:
    """Return the non-negative costs, by name, whose sums come nearest to what every row `spent`, by share of it.

    `per` says of which amount of a row each cost is one: {"fetch_s": "rollouts"} is a cost per rollout.
    """
    amounts = np.array([[row[amount] for amount in per.values()] for row in rows], float)
    total = np.array([row[spent] for row in rows], float)
    scale = amounts.max(axis=0) / total.max()
    solution, _ = nnls(amounts / scale / total[:, None], np.ones(len(rows)))
    return dict(zip(per, (solution / scale).tolist(), strict=True))
