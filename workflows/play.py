"""Episodes of a run's policy, in whatever state the run is: `python workflows/play.py RUN_DIR`.

run folder --> its trial, or --trial --> the policy in that trial's newest checkpoint
    --> episodes, several at a time --> their returns;  --video: one more episode, drawn
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from workflows.cli.flags import UsageError, parse_plain, require, run_main
from workflows.runs.files import RUN_FILE

POLICY_FILE = "policy.json"  # as in algorithms.rl.policy_files, whose import takes seconds
PROGRESS_S = 2.0
"""Seconds before the first line of progress; each later line comes after twice as long."""


@dataclass(frozen=True)
class PlayFlags:
    """Play whole episodes with the policy of a training: greedy actions of a DQN, sampled ones of REINFORCE."""

    run_dir: Annotated[str, Positional, arg(metavar="RUN_DIR")]
    """The run's folder."""
    episodes: int = 100
    """How many episodes the last line's mean and standard deviation are of."""
    video: Annotated[str | None, arg(metavar="F.mp4")] = None
    """Draw one more episode, which counts for nothing else: a .mp4 or .gif. An old file is replaced."""
    trial: Annotated[str | None, arg(metavar="STR")] = None
    """Which trial, where there are several: its trial_id, or an ending that no other has, such as 00003."""
    greedy: bool = False
    """Take the likeliest action of a train_reinforce policy, too; one of train_dqn always does."""
    seed: int = 0
    """Seed of the environments and of drawn actions: the same episodes every time."""

    def __post_init__(self) -> None:
        require(1 <= self.episodes <= 1_000_000, "--episodes", self.episodes, "must be 1 to 1000000")
        require(0 <= self.seed < 2**32, "--seed", self.seed, "must be at least 0 and below 2**32")
        drawable = self.video is None or Path(self.video).suffix.lower() in (".mp4", ".gif")
        require(drawable, "--video", self.video, "must end in .mp4 or .gif")


def play(argv: Sequence[str]) -> int:
    """Parse the flags, play, write, and return the exit code. Checks that need no heavy import come first."""
    flags = parse_plain(PlayFlags, argv)
    run_dir, video = _paths(flags)
    checkpoint = _choose(run_dir, flags.trial)
    import numpy as np
    import torch

    from algorithms.rl.play import Player
    from algorithms.rl.video import DrawingFailed, record

    torch.set_num_threads(1)  # a small network gains nothing from more threads
    with _one_line(f"{checkpoint} can't be loaded; broken, or just being written?"):
        player = Player(checkpoint, flags.greedy)
    seeds, video_seeds = np.random.SeedSequence(flags.seed).spawn(2)  # so that a video changes no return
    with _one_line(f"{checkpoint} can't be played"):
        creator = player.make_creator()
        steps = f"{checkpoint.name}, after {player.description.num_env_steps_sampled_lifetime} env steps"
        how = "sampled" if player.samples else "greedy"
        print(f"{player.description.env}: trial {checkpoint.parent.name}, {steps}, {how}", flush=True)
        if video is not None:
            with _one_line(f"{video} can't be written"):
                try:
                    rewards = record(player, creator, video_seeds, video)
                except DrawingFailed as error:
                    raise UsageError(str(error)) from None
            total = f"{sum(rewards):.2f} in {len(rewards)} steps"
            print(f"{flags.video}: one more episode, of return {total}", flush=True)
        played = player.play(creator, flags.episodes, seeds, Progress(flags.episodes))
        if played.num_lost:
            print(f"{played.num_lost} episodes are left out: a step of theirs gave NaN or infinity")
        if not len(played.returns):
            raise FloatingPointError("every episode had a step that gave NaN or infinity")
    returns = played.returns
    print(f"mean_return={np.mean(returns):.2f} std={np.std(returns):.2f} episodes={len(returns)}")
    return 0


class Progress:
    """Prints how many episodes have been played, at longer and longer intervals."""

    def __init__(self, num_episodes: int) -> None:
        self._num_episodes = num_episodes
        self._began, self._say_at_s = time.monotonic(), PROGRESS_S

    def __call__(self, num_played: int) -> None:
        """Print a line if one is due."""
        elapsed_s = time.monotonic() - self._began
        if elapsed_s > self._say_at_s and num_played < self._num_episodes:
            print(f"{num_played} of {self._num_episodes} episodes after {elapsed_s:.0f} s", flush=True)
            self._say_at_s *= 2


@contextlib.contextmanager
def _one_line(what: str) -> Iterator[None]:
    """Turn any error of a checkpoint or an environment into a UsageError."""
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise UsageError(f"{what} ({type(error).__name__}: {reason})") from None


def _paths(flags: PlayFlags) -> tuple[Path, Path | None]:
    """Return the run's folder and the video's path, both absolute. Raises UsageError for unusable ones."""
    run_dir = Path(os.path.abspath(os.path.expanduser(flags.run_dir)))
    video = None
    if flags.video is not None:
        video = Path(os.path.abspath(os.path.expanduser(flags.video)))
        in_folder = os.path.isdir(video.parent) and os.access(video.parent, os.W_OK | os.X_OK)
        rule = "must be a file in a folder that exists and may be written to"
        require(in_folder and not os.path.isdir(video), "--video", flags.video, rule)
        if missing := [name for name in ("av", "pygame") if importlib.util.find_spec(name) is None]:
            extra = "pip install 'ray-training-workflows[video]'"
            raise UsageError(f"--video needs {' and '.join(missing)}: {extra}")
    is_run = os.path.isfile(run_dir / RUN_FILE)
    require(is_run, "RUN_DIR", flags.run_dir, f"must be a run folder, with a {RUN_FILE}")
    return run_dir, video


def _choose(run_dir: Path, wanted: str | None) -> Path:
    """Return the newest checkpoint with a policy, of the only trial or of the wanted one."""
    from workflows import programs
    from workflows.runs import files

    with _one_line(f"{run_dir} can't be read; is its {RUN_FILE} broken?"):
        record = files.read_run(run_dir)
        program = str(record["program"])
        is_search = programs.program_of(record).kind == "search"
    if is_search:
        raise UsageError(f"{run_dir} is a run of {program}, which has no policy; play.py knows trainings")
    newest = {
        file.parent.parent.name: file.parent for file in sorted(run_dir.glob(f"*/checkpoint_*/{POLICY_FILE}"))
    }
    if not newest:
        raise UsageError(f"{run_dir} has no checkpoint with a {POLICY_FILE} yet")
    found = [trial_id for trial_id in newest if wanted is None or (wanted and trial_id.endswith(wanted))]
    if len(found) != 1:
        wrong = "must be given: one" if wanted is None else f"{wanted!r} fits {len(found) or 'none'}"
        raise UsageError(f"--trial {wrong} of the trials with a policy ({', '.join(newest)})")
    return newest[found[0]]


def main(argv: Sequence[str] | None = None) -> int:
    """Run `play` with one-line errors."""
    return run_main(play, "play.py", argv)


if __name__ == "__main__":
    sys.exit(main())
