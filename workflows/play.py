"""Episodes of a run's policy: `python workflows/play.py RUN_DIR`, while the run goes on, after it ended or was killed.
run folder --> its trial, or --trial --> the policy in that trial's newest checkpoint --> episodes, several at a time --> their returns
                                                                                      --> one more episode, drawn --> --video"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import itertools
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from workflows.common import RUN_FILE
from workflows.common.flags import UsageError, parse_plain, require, run_main

# Which module's `load` and `greedy` play the policy of a run of which program: a run folder can name no other.
PLAYING = {"train_dqn": "algorithms.dqn.policy"}
POLICY_FILE = "policy.json"  # as in algorithms.dqn.policy, whose import takes seconds
MOST_ENVS = 16
PROGRESS_S = 2.0


@dataclass(frozen=True)
class PlayFlags:
    """Play whole episodes with the policy of a run of train_dqn, always taking the action that it values most."""

    run_dir: Annotated[str, Positional, arg(metavar="RUN_DIR")]
    """The run's folder."""
    episodes: int = 100
    """How many episodes the last line's mean and standard deviation are of."""
    video: Annotated[str | None, arg(metavar="F.mp4")] = None
    """Draw one more episode, which counts for nothing else: a .mp4 or .gif. An old file is replaced."""
    trial: Annotated[str | None, arg(metavar="STR")] = None
    """Which trial, where there are several: its trial_id, or an ending that no other has, such as 00003."""
    seed: int = 0
    """Seed of the environments: the same episodes every time."""

    def __post_init__(self) -> None:
        require(1 <= self.episodes <= 1_000_000, "--episodes", self.episodes, "must be 1 to 1000000")
        require(0 <= self.seed < 2**32, "--seed", self.seed, "must be at least 0 and below 2**32")
        drawable = self.video is None or Path(self.video).suffix.lower() in (".mp4", ".gif")
        require(drawable, "--video", self.video, "must end in .mp4 or .gif")


def play(argv: Sequence[str]) -> int:
    """Parse the flags, play, write, and return the exit code. What needs nothing loaded is checked first."""
    flags = parse_plain(PlayFlags, argv)
    run_dir, video = (Path(os.path.abspath(os.path.expanduser(path))) for path in (flags.run_dir, flags.video or ""))
    if flags.video is not None:
        writable = os.path.isdir(video.parent) and os.access(video.parent, os.W_OK | os.X_OK) and not os.path.isdir(video)
        require(writable, "--video", flags.video, "must be a file in a folder that exists and may be written to")
        if missing := [name for name in ("av", "pygame") if importlib.util.find_spec(name) is None]:
            raise UsageError(f"--video needs {' and '.join(missing)}: pip install 'ray-training-workflows[video]'")
    require(os.path.isfile(run_dir / RUN_FILE), "RUN_DIR", flags.run_dir, f"must be a run folder, with a {RUN_FILE}")
    program, checkpoint = _choose(run_dir, flags.trial)
    import numpy as np
    import torch

    torch.set_num_threads(1)  # a small network gains nothing from more, and loses much where a training keeps the cores busy
    policy = importlib.import_module(PLAYING[program])
    with _one_line(f"{checkpoint} can't be loaded; broken, or just being written?"):
        network, made_for = policy.load(checkpoint)
        if not (isinstance(made_for.env, str) and isinstance(made_for.env_config, dict)):
            raise TypeError(f"env {made_for.env!r}, env_config {made_for.env_config!r}")

    def act(obs: Any) -> Any:
        return policy.greedy(network, torch.from_numpy(obs)).numpy()

    rng, video_rng = np.random.default_rng(flags.seed).spawn(2)  # two, so that a video changes no return
    with _one_line(f"{checkpoint} can't be played"):
        creator, envs = _make_envs(made_for, min(flags.episodes, MOST_ENVS))
        steps = f"{checkpoint.name}, after {made_for.num_env_steps_sampled_lifetime} env steps"
        print(f"{made_for.env}: trial {checkpoint.parent.name}, {steps}, greedy", flush=True)
        if flags.video is not None:
            rewards = _record(creator, made_for.env_config, act, video_rng, video)
            print(f"{flags.video}: one more episode, of return {sum(rewards):.2f} in {len(rewards)} steps", flush=True)
        returns = _returns(envs, act, rng, flags.episodes)
    print(f"mean_return={np.mean(returns):.2f} std={np.std(returns):.2f} episodes={len(returns)}")
    return 0


@contextlib.contextmanager
def _one_line(what: str) -> Iterator[None]:
    """Turn what a checkpoint or an environment raises, which may be anything, into a UsageError."""
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"{what} ({type(error).__name__}: {' '.join(str(error).split())[:300]})") from None


def _choose(run_dir: Path, wanted: str | None) -> tuple[str, Path]:
    """Return the run's program, and the newest checkpoint with a policy of its only trial, or of the one that is wanted."""
    from workflows.common import results

    with _one_line(f"{run_dir} can't be read; is its {RUN_FILE} broken?"):
        program = str(results.read_run(run_dir)["program"])
    if program not in PLAYING:
        raise UsageError(f"{run_dir} is a run of {program}, which has no policy; play.py knows {', '.join(PLAYING)}")
    newest = {file.parent.parent.name: file.parent for file in sorted(run_dir.glob(f"*/checkpoint_*/{POLICY_FILE}"))}
    if not newest:
        raise UsageError(f"{run_dir} has no checkpoint with a {POLICY_FILE} yet")
    found = [trial_id for trial_id in newest if wanted is None or (wanted and trial_id.endswith(wanted))]
    if len(found) != 1:
        wrong = "must be given: one" if wanted is None else f"{wanted!r} fits {len(found) or 'none'}"
        raise UsageError(f"--trial {wrong} of the trials with a policy ({', '.join(newest)})")
    return program, newest[found[0]]


def _make_envs(made_for: Any, num_envs: int) -> tuple[Any, Any]:
    """Return what makes one environment, and several that step together. Raises ValueError where the policy is for others.

    A checkpoint can have nothing else called than Gymnasium's environments and classes of `gymnasium.Env`.
    """
    import gymnasium as gym

    from algorithms.rollouts import vector_envs

    try:
        creator = vector_envs.as_creator(made_for.env)
    except ValueError as error:
        raise ValueError(f"{error}; play.py does not know what other code registers") from None
    if not isinstance(creator, str) and not (isinstance(creator, type) and issubclass(creator, gym.Env)):
        raise ValueError(f"env {made_for.env!r} must be a class of gymnasium.Env")
    with contextlib.closing(vector_envs.make_one(creator, made_for.env_config)) as env:
        obs: Any = env.observation_space
        actions: Any = env.action_space
    vector_envs.require_vector_obs(made_for.env, obs)
    vector_envs.require_discrete_actions(made_for.env, actions)
    if (math.prod(obs.shape), actions.n) != (made_for.obs_size, made_for.num_actions):
        fits = f"{made_for.obs_size} numbers and {made_for.num_actions} actions"
        raise ValueError(f"env {made_for.env!r} has {obs} and {actions}, and the policy is for {fits}")
    return creator, vector_envs.make_vector_env(creator, made_for.env_config, num_envs)


def _returns(envs: Any, act: Callable[[Any], Any], rng: Any, episodes: int) -> list[float]:
    """Return every episode's return. Each environment plays a share fixed beforehand, so that short episodes are not preferred."""
    import numpy as np

    from algorithms.rollouts import vector_envs

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


def _record(creator: Any, env_config: dict[str, Any], act: Callable[[Any], Any], rng: Any, path: Path) -> list[float]:
    """Draw an episode into a file, whole or not at all, and return its rewards."""
    os.environ |= {"SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy", "PYGAME_HIDE_SUPPORT_PROMPT": "1"}  # for machines with no screen
    import av
    import numpy as np
    from PIL import Image

    from algorithms.rollouts import vector_envs

    rewards: list[float] = []
    env: Any = vector_envs.make_one(creator, env_config | {"render_mode": "rgb_array"})
    fps = max(1, round(env.metadata.get("render_fps") or 30))

    def frames() -> Iterator[Any]:
        with _one_line("the episode can't be drawn"):
            obs, _ = env.reset(seed=int(rng.integers(2**31)))
            ended = False
            while True:
                frame: Any = env.render()
                if not (isinstance(frame, np.ndarray) and frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 3):
                    raise TypeError(f"in render_mode 'rgb_array' the env gives no uint8 [height, width, 3], but {type(frame).__name__}")
                yield np.ascontiguousarray(frame[: len(frame) // 2 * 2, : frame.shape[1] // 2 * 2])  # H.264 wants even sizes
                if ended:
                    return
                obs, reward, terminated, truncated, _ = env.step(int(act(np.asarray(obs)[None])[0]))
                rewards.append(float(reward))
                ended = terminated or truncated

    with _one_line(f"{path} can't be written"), tempfile.TemporaryDirectory(dir=path.parent, prefix=".play-") as folder:
        temporary = Path(folder, "video" + path.suffix.lower())
        drawn = frames()
        first = next(drawn)
        if temporary.suffix == ".gif":
            later = (Image.fromarray(frame) for frame in drawn)
            Image.fromarray(first).save(temporary, save_all=True, append_images=later, duration=max(20, round(1000 / fps)), loop=0)
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run `play` with one-line errors."""
    return run_main(play, "play.py", argv)


if __name__ == "__main__":
    sys.exit(main())
