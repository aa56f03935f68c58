"""A model of how training and search grow, as pure functions: what each part costs, and who waits for whom.

DQN        a runner plays one request while another waits; the driver takes all answers and learns from them
REINFORCE  all play their share of a batch; the value network learns while they play the next batch
search     one thread takes a trial's report, runs callbacks, and saves the search's state

Costs are in seconds. They are fitted to the points that benchmarks/scaling.py measures."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

BLOCK_STEPS = 16
"""Steps of a block, in which whole episodes are gathered (`EPISODE_BLOCK_STEPS`)."""
JITTER = 0.03
"""Share by which the duration of a runner's rollouts varies."""


@dataclass(frozen=True)
class Costs:
    """Costs of DQN. Driver and learner take turns, also if the learner is remote."""

    policy_s: float
    """Runner: choosing actions and bookkeeping, per joint step of its environments."""
    hand_over_s: float
    """Runner: from the end of a rollout to the start of the next one, already requested."""
    step_s: float
    """Driver: a training step, whatever it brings."""
    answer_s: float
    """Driver: taking an answer and sending a new request."""
    runner_s: float
    """Driver: checking a runner, per training step."""
    pair_s: float
    """Driver: the same, per square of the number of runners."""
    iteration_s: float
    """Driver: RLlib's work between iterations."""
    learn_s: float
    """The learner: a call."""
    fetch_s: float
    """Learner: moving a rollout from the object store into the replay."""
    env_step_s: float
    """Learner: an env step of a rollout."""
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
    """Seconds of a joint step of a runner's environments."""
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
    """The result; rates are per second of elapsed time."""

    env_steps_per_s: float
    updates_per_s: float
    rollouts_per_s: float
    rollouts_per_training_step: float
    learner_idle_share: float
    runners_idle_share: float
    driver_share: float
    """Share of time that the driver spends on its own work, RLlib's included."""
    weights_lag: float


def play_s(costs: Costs, setting: Setting) -> float:
    """Return the seconds that a runner plays for a rollout."""
    return setting.length * (setting.env_s + costs.policy_s)


def driver_s(costs: Costs, num_runners: int, num_answers: float) -> float:
    """Return the driver's own work in a training step with this many answers."""
    return (
        costs.step_s
        + costs.answer_s * num_answers
        + costs.runner_s * num_runners
        + costs.pair_s * num_runners**2
    )


def learner_s(costs: Costs, num_rollouts: float, num_env_steps: float, num_updates: float) -> float:
    """Return the seconds of a call of the learner."""
    return (
        costs.learn_s
        + costs.fetch_s * num_rollouts
        + costs.env_step_s * num_env_steps
        + costs.update_s * num_updates
    )


def ceilings(costs: Costs, setting: Setting) -> dict[str, float]:
    """Return the env steps/s of each part if no other part took time; no run is faster than the lowest.

    Driver and learner are fastest when `in_flight` answers of every runner wait.
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
    """Simulate DQN event by event, with the age of the weights; the first quarter is not counted.

    All runners begin together, as at the first request. Their rollouts vary by JITTER, so they drift apart.
    """
    rng = np.random.default_rng(0)
    play, steps = play_s(costs, setting), setting.rollout_env_steps
    heap: list[tuple[float, int]] = []  # (time of the answer, runner)
    free_at = [0.0] * setting.num_runners  # time when the runner has played all its requests
    versions: list[deque[int]] = [deque() for _ in free_at]  # of the weights, per request in flight
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
    """Costs of a batch of REINFORCE."""

    policy_s: float
    hand_over_s: float
    """From a request until a runner begins, and from its end until its answer arrives."""
    step_s: float
    answer_s: float
    """Driver: a share, requested and answered."""
    pair_s: float
    """Driver: per square of the number of runners."""
    fetch_s: float
    """The learner: per share."""
    env_step_s: float
    """Learner, while runners wait: per env step of the policy's update."""
    fit_env_step_s: float
    """Learner, while runners play: per env step of the value network's updates."""


@dataclass(frozen=True)
class BatchSetting:
    """Setting of REINFORCE: batches of whole episodes of equal length."""

    num_runners: int
    num_envs: int
    env_s: float
    num_episodes: int
    """`num_episodes_per_train_batch`."""
    episode_steps: int


def batch_play_s(costs: BatchCosts, setting: BatchSetting) -> float:
    """Return the seconds of the largest share: rounds of episodes and resets, in whole blocks."""
    share = math.ceil(setting.num_episodes / setting.num_runners)
    steps = math.ceil(share / setting.num_envs) * (setting.episode_steps + 1) - 1
    return math.ceil(steps / BLOCK_STEPS) * BLOCK_STEPS * (setting.env_s + costs.policy_s)


def batch_rate(costs: BatchCosts, setting: BatchSetting) -> dict[str, float]:
    """Return REINFORCE's env steps/s, and the shares of time that learner and runners wait."""
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
    """Costs of the head of a search."""

    report_s: float
    """Per report: the result, the checkpoint, callbacks."""
    save_s: float
    """Saving the search's state: the constant part."""
    save_trial_s: float
    """The same, per trial."""
    keep_s: float
    """Reading it back for the copy: the constant part."""
    keep_trial_s: float
    """The same, per trial."""


def head_share(
    costs: HeadCosts, num_trials: int, reports_per_s: float, saves_per_s: float, keeps_per_s: float
) -> float:
    """Return the share of time that the head of a search works; a value above 1 is impossible to reach."""
    saving = saves_per_s * (costs.save_s + costs.save_trial_s * num_trials)
    keeping = keeps_per_s * (costs.keep_s + costs.keep_trial_s * num_trials)
    return reports_per_s * costs.report_s + saving + keeping


def fit(rows: Sequence[Mapping[str, float]], spent: str, per: Mapping[str, str]) -> dict[str, float]:
    """Return non-negative costs by name, whose sums have the least relative error to what the rows `spent`.

    `per` names the amount that each cost multiplies: {"fetch_s": "rollouts"} is a cost per rollout.
    """
    amounts = np.array([[row[amount] for amount in per.values()] for row in rows], float)
    total = np.array([row[spent] for row in rows], float)
    scale = amounts.max(axis=0) / total.max()
    solution, _ = nnls(amounts / scale / total[:, None], np.ones(len(rows)))
    return dict(zip(per, (solution / scale).tolist(), strict=True))
