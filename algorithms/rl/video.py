"""Records one episode as a video: an MP4 (H.264) or a GIF."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from algorithms.rl import vector_envs
from algorithms.rl.play import Player

HEADLESS = {"SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy", "PYGAME_HIDE_SUPPORT_PROMPT": "1"}
"""Environment variables for machines without a screen."""


class VideoFailed(RuntimeError):
    """The episode could not be drawn, or the file could not be written; the text says which, and why."""


def record(player: Player, creator: Any, seeds: np.random.SeedSequence, path: Path) -> list[float]:
    """Draw one episode into a file, whole or not at all, and return its rewards.

    Raises ValueError if the environment takes no `render_mode`, and VideoFailed.
    """
    os.environ |= HEADLESS
    rewards: list[float] = []
    env_config = player.description.env_config | {"render_mode": "rgb_array"}
    env: Any = vector_envs.make_one(creator, env_config)
    fps = max(1, round(env.metadata.get("render_fps") or 30))
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".play-") as folder:
            temporary = Path(folder, "video" + path.suffix.lower())
            frames = _frames(player, env, seeds, rewards)
            (_write_gif if temporary.suffix == ".gif" else _write_mp4)(frames, fps, temporary)
            temporary.replace(path)
    except VideoFailed:
        raise
    except Exception as error:  # of Pillow, PyAV or the file system
        raise VideoFailed(f"{path} can't be written ({_reason(error)})") from None
    finally:
        env.close()
    return rewards


def _frames(
    player: Player, env: Any, seeds: np.random.SeedSequence, rewards: list[float]
) -> Iterator[np.ndarray]:
    """Play an episode; yield its frames, uint8 [H, W, 3], and append its rewards. Raises VideoFailed."""
    rng = np.random.default_rng(seeds)
    generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
    to_env = vector_envs.to_env_actions(env.action_space)
    try:
        obs, _ = env.reset(seed=int(rng.integers(2**31)))
        ended = False
        while True:
            yield _even_sized(env.render())
            if ended:
                return
            with torch.inference_mode():
                actions = player.choose(torch.from_numpy(np.asarray(obs)[None]), 0, generator).numpy()
            action = (to_env(actions) if to_env else actions)[0]
            obs, reward, terminated, truncated, _ = env.step(action if action.ndim else action.item())
            rewards.append(float(reward))
            ended = terminated or truncated
    except Exception as error:  # any error of the environment
        raise VideoFailed(f"the episode can't be drawn ({_reason(error)})") from None


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _even_sized(frame: Any) -> np.ndarray:
    """Return the frame with even sizes, which H.264 needs. Raises TypeError if it is no picture."""
    is_picture = isinstance(frame, np.ndarray) and frame.dtype == np.uint8
    if not (is_picture and frame.ndim == 3 and frame.shape[2] == 3):
        wanted = "in render_mode 'rgb_array' the env gives no uint8 [height, width, 3]"
        raise TypeError(f"{wanted}, but {type(frame).__name__}")
    height, width = (size // 2 * 2 for size in frame.shape[:2])
    return np.ascontiguousarray(frame[:height, :width])


def _write_gif(frames: Iterator[np.ndarray], fps: int, path: Path) -> None:
    from PIL import Image

    first = next(frames)
    later = (Image.fromarray(frame) for frame in frames)
    duration_ms = max(20, round(1000 / fps))
    Image.fromarray(first).save(path, save_all=True, append_images=later, duration=duration_ms, loop=0)


def _write_mp4(frames: Iterator[np.ndarray], fps: int, path: Path) -> None:
    import av

    first = next(frames)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=fps, options={"crf": "20"})
        stream.height, stream.width = first.shape[:2]
        for frame in itertools.chain([first], frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
