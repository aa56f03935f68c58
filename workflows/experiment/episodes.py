"""Episodes of a policy with Gymnasium alone: environments made from what a checkpoint names, their returns, one episode as a video."""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from workflows.cli.flags import UsageError

PROGRESS_S = 2.0
"""Seconds before the first line of progress; each later one comes after twice as many."""


@contextlib.contextmanager
def one_line(what: str) -> Iterator[None]:
    """Turn what a checkpoint or an environment raises, which may be anything, into a UsageError."""
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"{what} ({type(error).__name__}: {' '.join(str(error).split())[:300]})") from None


def make_envs(made_for: Any, num_envs: int) -> tuple[Any, Any]:
    """Return what makes one environment, and several that step together. Raises ValueError where the policy is for others.

    A checkpoint can have nothing else called than Gymnasium's environments and classes of `gymnasium.Env`.
    """
    import gymnasium as gym

    from algorithms.rl import vector_envs

    try:
        creator = vector_envs.as_creator(made_for.env)
    except ValueError as error:
        raise ValueError(f"{error}; play.py does not know what other code registers") from None
    if not isinstance(creator, str) and not (isinstance(creator, type) and issubclass(creator, gym.Env)):
        raise ValueError(f"env {made_for.env!r} must be a class of gymnasium.Env")
    with contextlib.closing(vector_envs.make_one(creator, made_for.env_config)) as env:
        obs: Any = env.observation_space
        actions: Any = env.action_space
    made_for.require_spaces(obs, actions)
    return creator, vector_envs.make_vector_env(creator, made_for.env_config, num_envs)


def play_returns(envs: Any, act: Callable[[Any], Any], rng: Any, episodes: int) -> list[float]:
    """Return every episode's return. Each environment plays a share fixed beforehand, so that short episodes are not preferred."""
    import numpy as np

    from algorithms.rl import vector_envs

    shares = [episodes // envs.num_envs + (i < episodes % envs.num_envs) for i in range(envs.num_envs)]
    returns: list[list[float]] = [[] for _ in shares]
    obs, totals = vector_envs.reset(envs, rng), np.zeros(envs.num_envs)
    began, say_at_s = time.monotonic(), PROGRESS_S
    while any(len(of_one) < share for of_one, share in zip(returns, shares, strict=True)):
        obs, rewards, terminated, truncated, _ = envs.step(act(obs))
        totals += rewards  # 0 in the step after an end, which only resets
        for i in np.flatnonzero(terminated | truncated):
            if len(returns[i]) < shares[i]:
                returns[i].append(float(totals[i]))
            totals[i] = 0
        if (elapsed_s := time.monotonic() - began) > say_at_s:
            print(f"{sum(map(len, returns))} of {episodes} episodes after {elapsed_s:.0f} s", flush=True)
            say_at_s *= 2
    envs.close()
    return [total for of_one in returns for total in of_one]


def record(
    creator: Any, env_config: dict[str, Any], act: Callable[[Any], Any], rng: Any, path: Path
) -> list[float]:
    """Draw an episode into a file, whole or not at all, and return its rewards."""
    os.environ |= {
        "SDL_VIDEODRIVER": "dummy",
        "SDL_AUDIODRIVER": "dummy",
        "PYGAME_HIDE_SUPPORT_PROMPT": "1",
    }  # for machines with no screen
    import av
    import numpy as np
    from PIL import Image

    from algorithms.rl import vector_envs

    rewards: list[float] = []
    env: Any = vector_envs.make_one(creator, env_config | {"render_mode": "rgb_array"})
    fps = max(1, round(env.metadata.get("render_fps") or 30))

    def frames() -> Iterator[Any]:
        with one_line("the episode can't be drawn"):
            obs, _ = env.reset(seed=int(rng.integers(2**31)))
            ended = False
            while True:
                frame: Any = env.render()
                if not (
                    isinstance(frame, np.ndarray)
                    and frame.dtype == np.uint8
                    and frame.ndim == 3
                    and frame.shape[2] == 3
                ):
                    raise TypeError(
                        f"in render_mode 'rgb_array' the env gives no uint8 [height, width, 3], but {type(frame).__name__}"
                    )
                yield np.ascontiguousarray(
                    frame[: len(frame) // 2 * 2, : frame.shape[1] // 2 * 2]
                )  # H.264 wants even sizes
                if ended:
                    return
                action = act(np.asarray(obs)[None])[0]
                obs, reward, terminated, truncated, _ = env.step(action if action.ndim else action.item())
                rewards.append(float(reward))
                ended = terminated or truncated

    with (
        one_line(f"{path} can't be written"),
        tempfile.TemporaryDirectory(dir=path.parent, prefix=".play-") as folder,
    ):
        temporary = Path(folder, "video" + path.suffix.lower())
        drawn = frames()
        first = next(drawn)
        if temporary.suffix == ".gif":
            later = (Image.fromarray(frame) for frame in drawn)
            Image.fromarray(first).save(
                temporary, save_all=True, append_images=later, duration=max(20, round(1000 / fps)), loop=0
            )
        else:
            with av.open(str(temporary), "w") as container:
                stream: Any = container.add_stream("libx264", rate=fps, options={"crf": "20"})
                stream.height, stream.width = first.shape[:2]
                for frame in itertools.chain([first], drawn):
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
                container.mux(stream.encode())
        temporary.replace(path)
    env.close()
    return rewards
