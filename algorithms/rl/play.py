"""Plays whole episodes of a trained policy, by the loop of training and evaluation, without Ray."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from algorithms.rl import vector_envs
from algorithms.rl.policy_files import load
from algorithms.rl.rollout_batch import Episodes
from algorithms.rl.stepper import Stepper

MAX_ENVS = 16
EPISODES_AT_A_TIME = 160
"""Episodes whose steps are held in memory together."""


class Player:
    """A trained policy and the environment that it was trained for.

    `folder` holds policy.safetensors and policy.json. Raises OSError, ValueError or TypeError.
    """

    def __init__(self, folder: Path, greedy: bool = False) -> None:
        self.network: Any
        self.network, self.description = load(folder)
        env, env_config = self.description.env, self.description.env_config
        if not (isinstance(env, str) and isinstance(env_config, dict)):
            raise TypeError(f"env must be a string and env_config a dict, got {env!r} and {env_config!r}")
        self.samples = self.description.policy == "distribution" and not greedy
        """Whether actions are drawn from the policy; else they are its best ones."""

    def choose(self, obs: Tensor, env_steps: int, generator: torch.Generator) -> Tensor:
        """Return actions [N, ...] for observations [N, ...]."""
        actions: Tensor = self.network.sample(obs, generator) if self.samples else self.network.greedy(obs)
        return actions

    def make_creator(self) -> Any:
        """Return what makes an environment. Raises ValueError if there is none that suits the policy.

        Only Gymnasium's environments and subclasses of `gymnasium.Env` can be named; no other code runs.
        """
        made_for = self.description
        try:
            creator = vector_envs.as_creator(made_for.env)
        except ValueError as error:
            raise ValueError(f"{error}; play.py does not know what other code registers") from None
        if not isinstance(creator, str) and not (isinstance(creator, type) and issubclass(creator, gym.Env)):
            raise ValueError(f"env {made_for.env!r} must be a class of gymnasium.Env")
        with contextlib.closing(vector_envs.make_one(creator, made_for.env_config)) as env:
            made_for.require_spaces(env.observation_space, env.action_space)
        return creator

    def play(
        self,
        creator: Any,
        num_episodes: int,
        seeds: np.random.SeedSequence,
        progress: Callable[[int], None] = lambda num_played: None,
    ) -> Episodes:
        """Play new episodes, at most MAX_ENVS at a time; `progress` is called with the number played so far.

        Episodes with a step that gave NaN or infinity are lost and counted. Raises EnvironmentFailed.
        """
        num_envs = min(num_episodes, MAX_ENVS)
        make_envs = partial(vector_envs.make_vector_env, creator, self.description.env_config, num_envs)
        played: list[Episodes] = []
        stepper = Stepper(make_envs, seeds, env=self.description.env)
        stepper.reseed(seeds)  # making the environments has drawn a number
        with contextlib.closing(stepper):
            for first in range(0, num_episodes, EPISODES_AT_A_TIME):
                num = min(EPISODES_AT_A_TIME, num_episodes - first)
                report = partial(_report, progress, first)
                batch = stepper.whole_episodes(num, self.choose, progress=report)
                played.append(batch.episodes)
        return Episodes(
            returns=np.concatenate([episodes.returns for episodes in played]),
            lengths=np.concatenate([episodes.lengths for episodes in played]),
            num_lost=sum(episodes.num_lost for episodes in played),
        )


def _report(progress: Callable[[int], None], num_before: int, num_played: int) -> None:
    progress(num_before + num_played)
