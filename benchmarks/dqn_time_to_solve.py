"""Seconds of training until CartPole-v1 is solved: 20 greedy episodes, never seen before, average 475. Ours, Stable-Baselines3's, RLlib's.

One stopping rule for all, looked at every 1000 environment steps. The clock stands still while it is, and while anything is built; each
learns for 2000 steps beforehand, so that nobody pays for what torch loads at its first use. One torch thread, everything in this process,
and the seeds in turn: a seed of each before the next one. A run that is not done within the limit counts as the limit, and is marked."""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.dqn import DQNConfig as PeerConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME
from side_by_side import write

from algorithms.dqn.dqn import DQNConfig
from algorithms.dqn.options import PRESETS
from workflows.common.cluster import connected

Act = Callable[[np.ndarray], np.ndarray]
"""Greedy actions [N] for observations [N, 4]."""

ENV = "CartPole-v1"
SOLVED, NUM_EPISODES, CHECK_PERIOD, WARM_UP_STEPS = 475.0, 20, 1000, 2000

SB3_OPTIONS: dict[str, Any] = {
    "learning_rate": 2.3e-3,
    "batch_size": 64,
    "buffer_size": 100_000,
    "learning_starts": 1000,
    "gamma": 0.99,
    "target_update_interval": 10,
    "train_freq": 256,
    "gradient_steps": 128,
    "exploration_final_eps": 0.04,
    "policy_kwargs": {"net_arch": [256, 256]},
}
"""Those of RL Baselines3 Zoo for this environment."""
SB3_EXPLORATION_STEPS = 0.16 * 50_000

RLLIB_OPTIONS: dict[str, Any] = {
    "lr": 0.0005,
    "train_batch_size_per_learner": 32,
    "replay_buffer_config": {"type": "PrioritizedEpisodeReplayBuffer", "capacity": 50_000, "alpha": 0.6, "beta": 0.4},
    "n_step": (2, 5),
    "double_q": True,
    "dueling": True,
    "num_atoms": 1,
    "target_network_update_freq": 500,
    "epsilon": [(0, 1.0), (10_000, 0.02)],
}
RLLIB_NETWORK: dict[str, Any] = {
    "fcnet_hiddens": [256],
    "fcnet_activation": "tanh",
    "fcnet_bias_initializer": "zeros_",
    "head_fcnet_hiddens": [256],
    "head_fcnet_bias_initializer": "zeros_",
}
"""Those of its tuned example, rllib/examples/algorithms/dqn/cartpole_dqn.py."""


class Judge:
    """Holds the clock, and says when training stops."""

    def __init__(self, seed: int, limit_s: float, max_env_steps: float = float("inf")) -> None:
        self._rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(475,)))  # nobody trains with these seeds
        self._limit_s, self._max_env_steps = limit_s, max_env_steps
        self._since = 0.0
        self.seconds, self.env_steps, self.greedy_return, self.solved = 0.0, 0, 0.0, False

    def start(self) -> None:
        self._since = time.perf_counter()

    def stops(self, env_steps: int, act: Act) -> bool:
        """Return whether training is over: solved, or out of time."""
        self.seconds += time.perf_counter() - self._since
        self.env_steps = env_steps
        self.greedy_return = greedy_return(act, int(self._rng.integers(2**31)))
        self.solved = self.greedy_return >= SOLVED and self.seconds <= self._limit_s
        self._since = time.perf_counter()
        return self.solved or self.seconds >= self._limit_s or env_steps >= self._max_env_steps


def greedy_return(act: Act, seed: int) -> float:
    """Return the mean return of the first episode of each of 20 environments."""
    envs = gym.make_vec(ENV, NUM_EPISODES, vectorization_mode=gym.VectorizeMode.VECTOR_ENTRY_POINT)
    obs, _ = envs.reset(seed=seed)
    playing, total = np.ones(NUM_EPISODES, bool), 0.0
    while playing.any():
        obs, rewards, terminated, truncated, _ = envs.step(act(obs))
        total += float(rewards[playing].sum())
        playing &= ~(terminated | truncated)
    envs.close()
    return total / NUM_EPISODES


def train_ours(seed: int, judge: Judge) -> None:
    train_on_rllib(DQNConfig().environment(ENV).training(**asdict(PRESETS[ENV])), seed, judge)


def train_rllib(seed: int, judge: Judge) -> None:
    config = PeerConfig().environment(ENV).training(**RLLIB_OPTIONS).rl_module(model_config=DefaultModelConfig(**RLLIB_NETWORK))
    train_on_rllib(config, seed, judge)


def train_on_rllib(config: AlgorithmConfig, seed: int, judge: Judge) -> None:
    """Train with the env runner and the learner in this process; an iteration is about 1000 steps, for either."""
    config.env_runners(num_env_runners=0).learners(num_learners=0).debugging(seed=seed)
    config.reporting(min_sample_timesteps_per_iteration=CHECK_PERIOD)
    algo = config.build_algo()
    (found,) = algo.learner_group.foreach_learner(lambda learner: learner.module[DEFAULT_MODULE_ID])
    module = found.get()

    def act(obs: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return module.forward_inference({Columns.OBS: torch.from_numpy(obs)})[Columns.ACTIONS].numpy()

    judge.start()
    while True:
        results = algo.train()
        if judge.stops(int(results[ENV_RUNNER_RESULTS][NUM_ENV_STEPS_SAMPLED_LIFETIME]), act):
            break
    algo.stop()
    shutil.rmtree(algo.logdir, ignore_errors=True)


def train_sb3(seed: int, judge: Judge) -> None:
    from stable_baselines3 import DQN
    from stable_baselines3.common.callbacks import BaseCallback

    class Check(BaseCallback):
        def _on_training_start(self) -> None:
            judge.start()

        def _on_step(self) -> bool:
            return self.num_timesteps % CHECK_PERIOD > 0 or not judge.stops(self.num_timesteps, act)

    endless = 10_000_000  # exploration is given as a share of it
    model = DQN("MlpPolicy", ENV, exploration_fraction=SB3_EXPLORATION_STEPS / endless, seed=seed, device="cpu", **SB3_OPTIONS)

    def act(obs: np.ndarray) -> np.ndarray:
        return model.predict(obs, deterministic=True)[0]

    model.learn(endless, Check())


CONTENDERS: dict[str, Callable[[int, Judge], None]] = {"ours": train_ours, "sb3": train_sb3, "rllib": train_rllib}


def run(name: str, seed: int, limit_s: float) -> dict[str, Any]:
    """Return what came of training one of them once."""
    judge = Judge(seed, limit_s)
    CONTENDERS[name](seed, judge)
    assert torch.get_num_threads() == 1, f"{name} has set torch's threads to {torch.get_num_threads()}"
    seconds = judge.seconds if judge.solved else limit_s
    ended = "solved" if judge.solved else "NOT SOLVED, counts as the limit"
    print(
        f"seed {seed}: {name:<5} {seconds:6.1f} s, {judge.env_steps:>7,} env steps, greedy {judge.greedy_return:5.1f}: {ended}", flush=True
    )
    return {
        "seed": seed,
        "seconds": seconds,
        "solved": judge.solved,
        "env_steps": judge.env_steps,
        "env_steps_per_s": judge.env_steps / judge.seconds,
        "greedy_return": judge.greedy_return,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="how many: 0, 1, ...")
    parser.add_argument("--limit-s", type=float, default=300.0, help="seconds of training that a run may take")
    parser.add_argument("--only", choices=CONTENDERS, help="train one of them; writes nothing, for only what ran side by side compares")
    flags = parser.parse_args()
    names = [flags.only] if flags.only else list(CONTENDERS)
    if "sb3" in names and importlib.util.find_spec("stable_baselines3") is None:
        parser.exit(2, "stable-baselines3 is not installed; pip install -e '.[bench]' does it, and --only ours needs none\n")
    torch.set_num_threads(1)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    with connected("local"):
        for name in names:
            CONTENDERS[name](flags.seeds, Judge(flags.seeds, flags.limit_s, max_env_steps=WARM_UP_STEPS))
        for seed in range(flags.seeds):
            for name in names:
                runs[name].append(run(name, seed, flags.limit_s))

    medians = {name: statistics.median([row["seconds"] for row in rows]) for name, rows in runs.items()}
    for name, rows in runs.items():
        times = ", ".join(f"{row['seconds']:.1f}" + "*" * (not row["solved"]) for row in rows)
        ratio = f"{medians[name] / medians['ours']:5.1f} times ours" if "ours" in medians else ""
        print(f"{name:<5} median {medians[name]:6.1f} s  {ratio}  ({times})")
    if not all(row["solved"] for rows in runs.values() for row in rows):
        print(f"* not solved within {flags.limit_s:g} s, which it counts as")
    if flags.only:
        return
    record = {
        "unit": "s of training",
        "rule": f"{NUM_EPISODES} fresh greedy episodes average {SOLVED:g} or more, looked at every {CHECK_PERIOD} env steps",
        **{f"{name}_median": median for name, median in medians.items()},
        **{f"{name}_per_ours": medians[name] / medians["ours"] for name in ("sb3", "rllib")},
        **{f"{name}_num_solved": sum(row["solved"] for row in rows) for name, rows in runs.items()},
        "limit_s": flags.limit_s,
        "runs": runs,
        "threads": 1,
        "ours_options": asdict(PRESETS[ENV]),
        "sb3_options": {**SB3_OPTIONS, "exploration_steps": SB3_EXPLORATION_STEPS},
        "rllib_options": {**RLLIB_OPTIONS, **RLLIB_NETWORK},
    }
    write(record, "gymnasium", "stable-baselines3")


if __name__ == "__main__":
    main()
