"""Seconds of training until CartPole-v1 is solved: ours, Stable-Baselines3's and RLlib's.

Solved means that 20 greedy episodes on new seeds average 475. One rule for all checks this every 1000
environment steps. The clock stops during a check and while anything is built. Each contender first learns for
2000 steps, so that none is timed while torch loads. One torch thread; everything runs in this process. All
contenders train with one seed before the next seed. A run that exceeds the limit counts as the limit, and is
marked."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from ray.rllib.algorithms.dqn import DQNConfig as PeerConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from side_by_side import write
from solving import ENV, Contender, Judge, rule, summarize, time_to_solve, train_on_rllib

from algorithms.dqn.dqn import DQNConfig
from algorithms.dqn.options import PRESETS
from workflows.experiment.ray_cluster import connected

CHECK_PERIOD = 1000

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
"""Settings of RL Baselines3 Zoo for this environment."""
SB3_EXPLORATION_STEPS = 0.16 * 50_000

RLLIB_OPTIONS: dict[str, Any] = {
    "lr": 0.0005,
    "train_batch_size_per_learner": 32,
    "replay_buffer_config": {
        "type": "PrioritizedEpisodeReplayBuffer",
        "capacity": 50_000,
        "alpha": 0.6,
        "beta": 0.4,
    },
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
"""Settings of RLlib's tuned example, rllib/examples/algorithms/dqn/cartpole_dqn.py."""


def train_ours(seed: int, judge: Judge) -> None:
    config = DQNConfig().environment(ENV).training(**asdict(PRESETS[ENV]))
    train_on_rllib(config.env_runners(num_env_runners=0), seed, judge, CHECK_PERIOD)


def train_rllib(seed: int, judge: Judge) -> None:
    config = (
        PeerConfig()
        .environment(ENV)
        .training(**RLLIB_OPTIONS)
        .rl_module(model_config=DefaultModelConfig(**RLLIB_NETWORK))
    )
    train_on_rllib(config.env_runners(num_env_runners=0), seed, judge, CHECK_PERIOD)


def train_sb3(seed: int, judge: Judge) -> None:
    from stable_baselines3 import DQN
    from stable_baselines3.common.callbacks import BaseCallback

    class Check(BaseCallback):
        def _on_training_start(self) -> None:
            judge.start()

        def _on_step(self) -> bool:
            return self.num_timesteps % CHECK_PERIOD > 0 or not judge.stops(self.num_timesteps, act)

    endless = 10_000_000  # exploration is a share of it
    model = DQN(
        "MlpPolicy",
        ENV,
        exploration_fraction=SB3_EXPLORATION_STEPS / endless,
        seed=seed,
        device="cpu",
        **SB3_OPTIONS,
    )

    def act(obs: np.ndarray) -> np.ndarray:
        return model.predict(obs, deterministic=True)[0]

    model.learn(endless, Check())


TRAIN: dict[str, Callable[[int, Judge], None]] = {"ours": train_ours, "sb3": train_sb3, "rllib": train_rllib}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5, help="how many: 0, 1, ...")
    parser.add_argument(
        "--limit-s", type=float, default=300.0, help="seconds of training that a run may take"
    )
    parser.add_argument(
        "--only",
        choices=TRAIN,
        help="train only this one; writes nothing, because only runs side by side compare",
    )
    flags = parser.parse_args()
    names = [flags.only] if flags.only else list(TRAIN)
    if "sb3" in names and importlib.util.find_spec("stable_baselines3") is None:
        parser.exit(
            2,
            "stable-baselines3 is not installed: pip install -e '.[bench]' installs it; --only ours does not need it\n",
        )
    torch.set_num_threads(1)
    contenders = {name: Contender(TRAIN[name], flags.limit_s, flags.seeds) for name in names}
    with connected("local"):
        runs = time_to_solve(contenders)
    figures = summarize(contenders, runs)
    if flags.only:
        return
    record = {
        "unit": "s of training",
        "rule": rule(CHECK_PERIOD),
        **figures,
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
