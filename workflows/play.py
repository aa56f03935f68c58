"""Episodes of a run's policy: `python workflows/play.py RUN_DIR`, also during the run.

run folder --> its trial, or --trial --> the policy in that trial's newest checkpoint
    --> episodes, several at a time --> their returns;  --video: one more episode, drawn
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from workflows.cli.flags import UsageError, absolute, checks, may_write, parse_plain, run_main
from workflows.cli.terminal import error_text, less_and_less, say
from workflows.runs.folder import given_run
from workflows.runs.policies import newest_policy


@dataclass(frozen=True)
class PlayFlags:
    """Play whole episodes with a training's policy: greedy actions of a DQN, sampled ones of REINFORCE."""

    run_dir: Annotated[str, Positional, arg(metavar="RUN_DIR")]
    """The run's folder."""
    episodes: int = 100
    """Number of episodes; the last line has their mean return and its standard deviation."""
    video: Annotated[str | None, arg(metavar="F.mp4")] = None
    """Draw one more episode, which the mean leaves out: a .mp4 or .gif. An old file is replaced."""
    trial: Annotated[str | None, arg(metavar="STR")] = None
    """Trial to play, if there are several: its trial_id, or an ending that no other has, such as 00003."""
    greedy: bool = False
    """Take the most likely action of a train_reinforce policy, too."""
    seed: int = 0
    """Seed of the environments and of drawn actions; one seed plays the same episodes every time."""

    def __post_init__(self) -> None:
        check = checks(self).that(1 <= self.episodes <= 1_000_000, "episodes", "1 to 1000000")
        check.that(0 <= self.seed < 2**32, "seed", "at least 0 and below 2**32")
        if self.video is None:
            return
        if Path(self.video).suffix.lower() not in (".mp4", ".gif"):
            raise UsageError(f"--video must end in .mp4 or .gif, got {self.video!r}")
        rule = "a file in a folder that exists and may be written to"
        check.that(may_write(absolute(self.video)), "video", rule)
        if missing := [name for name in ("av", "pygame") if importlib.util.find_spec(name) is None]:
            extra = "pip install 'ray-training-workflows[video]'"
            raise UsageError(f"--video needs {' and '.join(missing)}: {extra}")


def play(argv: Sequence[str]) -> int:
    """Parse the flags, play, write, and return the exit code. Checks that need no heavy import come first."""
    flags = parse_plain(PlayFlags, argv)
    checkpoint = newest_policy(given_run(flags.run_dir), flags.trial)
    import numpy as np
    import torch

    from algorithms.rl.play import Player
    from algorithms.rl.video import record

    torch.set_num_threads(1)  # a small network gains nothing from more threads
    with _one_line(f"{checkpoint} can't be loaded; broken, or just being written?"):
        player = Player(checkpoint, flags.greedy)
    seeds, video_seeds = np.random.SeedSequence(flags.seed).spawn(2)  # two, so that a video changes no return
    with _one_line(f"{checkpoint} can't be played"):
        creator = player.make_creator()
        env, env_steps = player.description.env, player.description.num_env_steps_sampled_lifetime
        source = f"trial {checkpoint.parent.name}, {checkpoint.name}, after {env_steps} env steps"
        say(f"{env}: {source}, {'sampled' if player.samples else 'greedy'}")
        if flags.video is not None:
            rewards = record(player, creator, video_seeds, absolute(flags.video))
            total = f"{sum(rewards):.2f} in {len(rewards)} steps"
            say(f"{flags.video}: one more episode, of return {total}")
        played = player.play(creator, flags.episodes, seeds, less_and_less("episodes", flags.episodes))
    returns = played.returns
    if played.num_lost:
        say(f"{played.num_lost} episodes are left out: in each, a step gave NaN or infinity")
    if not len(returns):
        raise UsageError(f"{checkpoint} can't be played: no episode is left")
    print(f"mean_return={np.mean(returns):.2f} std={np.std(returns):.2f} episodes={len(returns)}")
    return 0


@contextlib.contextmanager
def _one_line(what: str) -> Iterator[None]:
    """Turn any error of a checkpoint or an environment into a UsageError."""
    from algorithms.rl.video import VideoFailed

    try:
        yield
    except VideoFailed as error:
        raise UsageError(str(error)) from None
    except Exception as error:
        raise UsageError(f"{what} ({error_text(error)})") from None


def main(argv: Sequence[str] | None = None) -> int:
    """Run `play` with one-line errors."""
    return run_main(play, "play.py", argv)


if __name__ == "__main__":
    sys.exit(main())
