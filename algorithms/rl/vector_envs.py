"""Environments that step together: Gymnasium's own vector version of an environment where it has one, else one after the other."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

EnvCreator = Callable[[Any], gym.Env[Any, Any]]
"""Makes one environment from its `env_config`, as functions for `ray.tune.register_env` do."""


def as_creator(env: str | type | EnvCreator) -> EnvCreator | str:
    """Return the Gymnasium id as it is, or what makes one environment of a class, a function or a `module.Class` path.

    Raises ValueError for a name that is neither.
    """
    if callable(env):
        return env
    if not isinstance(env, str):
        raise ValueError(f"env must be a Gymnasium id, a class or a function, got {env!r}")
    try:
        gym.spec(env)
        return env
    except (gym.error.Error, ModuleNotFoundError) as error:
        module, _, name = env.rpartition(".")
        try:
            creator: EnvCreator = getattr(importlib.import_module(module), name)
            return creator
        except Exception as not_imported:  # whatever a module of the user's raises
            reason = " ".join(f"{error}; {type(not_imported).__name__}: {not_imported}".split())
            raise ValueError(
                f"env {env!r} is no environment that Gymnasium knows, nor registered with ray.tune ({reason})"
            ) from None


def make_one(env: str | type | EnvCreator, env_config: dict[str, Any], **kwargs: Any) -> gym.Env[Any, Any]:
    """Return a single environment. Raises ValueError where it can't be made, or what was made is none."""
    creator = as_creator(env)
    try:
        made = gym.make(creator, **env_config, **kwargs) if isinstance(creator, str) else creator(env_config)
    except Exception as error:  # whatever its constructor raises
        raise ValueError(
            f"env {_name(env)!r} can't be made: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        ) from error
    if not isinstance(made, gym.Env):
        raise ValueError(f"env {_name(env)!r} must make a gymnasium.Env, not a {type(made).__name__}")
    return made


def make_vector_env(
    env: str | type | EnvCreator, env_config: dict[str, Any], num_envs: int
) -> VectorEnv[Any, Any, Any]:
    """Return `num_envs` environments that reset themselves on the step after an end.

    Raises ValueError where they can't be made, or reset themselves otherwise: a row that is none would be learned from.
    """
    creator = as_creator(env)
    if isinstance(creator, str) and gym.spec(creator).vector_entry_point is not None:
        try:
            envs = gym.make_vec(
                creator, num_envs, vectorization_mode=gym.VectorizeMode.VECTOR_ENTRY_POINT, **env_config
            )
        except Exception as error:
            raise ValueError(
                f"env {env!r} can't be made: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
            ) from error
        mode = envs.metadata.get("autoreset_mode")
        if mode != AutoresetMode.NEXT_STEP:
            envs.close()
            raise ValueError(
                f"env {env!r} must reset itself on the next step (metadata autoreset_mode NEXT_STEP), not {mode}"
            )
        return envs
    return SyncVectorEnv(
        [partial(make_one, env, env_config)] * num_envs, autoreset_mode=AutoresetMode.NEXT_STEP
    )


def reset(envs: VectorEnv[Any, Any, Any], rng: np.random.Generator) -> np.ndarray:
    """Start new episodes everywhere, with seeds from `rng`; return the observations [N, ...].

    A list of seeds where each environment takes its own; a vector version has one generator for all.
    """
    seeds = [int(seed) for seed in rng.integers(2**31, size=envs.num_envs)]
    obs, _ = envs.reset(seed=seeds if isinstance(envs.unwrapped, SyncVectorEnv) else seeds[0])  # type: ignore[arg-type]
    return np.asarray(obs)


def to_env_actions(space: gym.Space[Any]) -> Callable[[np.ndarray], np.ndarray] | None:
    """Return what makes an environment's actions [N, A] of a policy's, or None where they are the same.

    RLlib calls it `normalize_actions`: a policy for a Box works from -1 to 1, which stands for the Box's bounds, and is clipped there. A
    coordinate that is not bounded on both sides is only clipped.
    """
    if not isinstance(space, gym.spaces.Box):
        return None
    bounded = space.bounded_below & space.bounded_above
    low, high = (
        np.where(bounded, space.low, -1.0).astype(np.float64),
        np.where(bounded, space.high, 1.0).astype(np.float64),
    )

    def unsquash(actions: np.ndarray) -> np.ndarray:
        scaled = low + (np.clip(actions, -1.0, 1.0) + 1.0) * 0.5 * (high - low)
        taken: np.ndarray = np.clip(
            np.where(bounded, scaled, actions).astype(space.dtype), space.low, space.high
        )
        return taken

    return unsquash


def require_discrete_or_box_actions(env: str | type | EnvCreator, space: gym.Space[Any]) -> None:
    """Raise ValueError unless the actions are 0 to n - 1, or vectors of real numbers."""
    box = (
        isinstance(space, gym.spaces.Box)
        and len(space.shape) == 1
        and np.issubdtype(space.dtype, np.floating)
    )
    if not (box or (isinstance(space, gym.spaces.Discrete) and space.start == 0)):
        raise ValueError(
            f"env {_name(env)!r} must have discrete actions from 0 on, or vectors of real numbers, not {space}"
        )


def require_discrete_actions(env: str | type | EnvCreator, space: gym.Space[Any]) -> None:
    """Raise ValueError unless the actions are 0 to n - 1."""
    if not (isinstance(space, gym.spaces.Discrete) and space.start == 0):
        raise ValueError(f"env {_name(env)!r} must have discrete actions from 0 on, not {space}")


def require_vector_obs(env: str | type | EnvCreator, space: gym.Space[Any]) -> None:
    """Raise ValueError unless the observations are arrays of numbers that can pass for vectors."""
    if not isinstance(space, gym.spaces.Box):
        raise ValueError(f"env {_name(env)!r} must have observations of a Box, not {space}")
    if len(space.shape) > 2:
        raise ValueError(
            f"env {_name(env)!r} has observations of shape {space.shape}, like images; there is no network for those"
        )


def _name(env: str | type | EnvCreator) -> str:
    return env if isinstance(env, str) else getattr(env, "__name__", str(env))
