"""Environments that step together: Gymnasium's vector version if there is one, else one after the other."""

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

Env = str | type | EnvCreator
"""A Gymnasium id, a `module.Class` path, a class or a function."""


def as_creator(env: Env) -> EnvCreator | str:
    """Return a Gymnasium id unchanged, and for a class, a function or a path what makes one environment.

    Raises ValueError for another name.
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
        except Exception as not_imported:  # any error of the user's module
            reason = " ".join(f"{error}; {type(not_imported).__name__}: {not_imported}".split())
            raise ValueError(
                f"env {env!r} is no environment that Gymnasium knows, nor registered with ray.tune ({reason})"
            ) from None


def make_one(env: Env, env_config: dict[str, Any], **kwargs: Any) -> gym.Env[Any, Any]:
    """Return a single environment. Raises ValueError if it can't be made, or is no gymnasium.Env."""
    creator = as_creator(env)
    try:
        made = gym.make(creator, **env_config, **kwargs) if isinstance(creator, str) else creator(env_config)
    except Exception as error:  # any error of its constructor
        raise _not_made(env, error) from error
    if not isinstance(made, gym.Env):
        raise ValueError(f"env {_name(env)!r} must make a gymnasium.Env, not a {type(made).__name__}")
    return made


def make_vector_env(env: Env, env_config: dict[str, Any], num_envs: int) -> VectorEnv[Any, Any, Any]:
    """Return `num_envs` environments that reset themselves on the step after an end.

    Raises ValueError if they can't be made, or reset themselves otherwise: resets would be learned from.
    """
    creator = as_creator(env)
    if not isinstance(creator, str) or gym.spec(creator).vector_entry_point is None:
        makers = [partial(make_one, env, env_config)] * num_envs
        return SyncVectorEnv(makers, autoreset_mode=AutoresetMode.NEXT_STEP)
    vectorized = gym.VectorizeMode.VECTOR_ENTRY_POINT
    try:
        envs = gym.make_vec(creator, num_envs, vectorization_mode=vectorized, **env_config)
    except Exception as error:
        raise _not_made(env, error) from error
    mode = envs.metadata.get("autoreset_mode")
    if mode != AutoresetMode.NEXT_STEP:
        envs.close()
        raise ValueError(
            f"env {env!r} must reset itself on the next step (metadata autoreset_mode NEXT_STEP), not {mode}"
        )
    return envs


def _not_made(env: Env, error: Exception) -> ValueError:
    reason = " ".join(str(error).split())[:300]
    return ValueError(f"env {_name(env)!r} can't be made: {type(error).__name__}: {reason}")


def reset(envs: VectorEnv[Any, Any, Any], rng: np.random.Generator) -> np.ndarray:
    """Start new episodes everywhere, with seeds from `rng`; return the observations [N, ...].

    Each environment of a SyncVectorEnv has its own seed; a vector version has one generator for all.
    """
    seeds = [int(seed) for seed in rng.integers(2**31, size=envs.num_envs)]
    obs, _ = envs.reset(seed=seeds if isinstance(envs.unwrapped, SyncVectorEnv) else seeds[0])  # type: ignore[arg-type]
    return np.asarray(obs)


def to_env_actions(space: gym.Space[Any]) -> Callable[[np.ndarray], np.ndarray] | None:
    """Return the function from a policy's actions [N, A] to the environment's; None if they are the same.

    A policy for a Box acts from -1 to 1, which stand for the Box's bounds, and is clipped there (RLlib's
    `normalize_actions`). A coordinate that is not bounded on both sides is only clipped.
    """
    if not isinstance(space, gym.spaces.Box):
        return None
    bounded = space.bounded_below & space.bounded_above
    low = np.where(bounded, space.low, -1.0).astype(np.float64)
    high = np.where(bounded, space.high, 1.0).astype(np.float64)

    def unsquash(actions: np.ndarray) -> np.ndarray:
        scaled = low + (np.clip(actions, -1.0, 1.0) + 1.0) * 0.5 * (high - low)
        chosen = np.where(bounded, scaled, actions).astype(space.dtype)
        taken: np.ndarray = np.clip(chosen, space.low, space.high)
        return taken

    return unsquash


def require_discrete_or_box_actions(env: Env, space: gym.Space[Any]) -> None:
    """Raise ValueError unless the actions are 0 to n - 1, or vectors of real numbers."""
    if isinstance(space, gym.spaces.Box):
        suits = len(space.shape) == 1 and np.issubdtype(space.dtype, np.floating)
    else:
        suits = isinstance(space, gym.spaces.Discrete) and space.start == 0
    if not suits:
        raise ValueError(
            f"env {_name(env)!r} must have discrete actions from 0 on, "
            f"or vectors of real numbers, not {space}"
        )


def require_discrete_actions(env: Env, space: gym.Space[Any]) -> None:
    """Raise ValueError unless the actions are 0 to n - 1."""
    if not (isinstance(space, gym.spaces.Discrete) and space.start == 0):
        raise ValueError(f"env {_name(env)!r} must have discrete actions from 0 on, not {space}")


def require_vector_obs(env: Env, space: gym.Space[Any]) -> None:
    """Raise ValueError unless the observations are arrays of numbers that can pass for vectors."""
    if not isinstance(space, gym.spaces.Box):
        raise ValueError(f"env {_name(env)!r} must have observations of a Box, not {space}")
    if len(space.shape) > 2:
        raise ValueError(
            f"env {_name(env)!r} has observations of shape {space.shape}, like images; no network here fits"
        )


def _name(env: Env) -> str:
    return env if isinstance(env, str) else getattr(env, "__name__", str(env))
