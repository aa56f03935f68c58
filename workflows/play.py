"""Episodes of a run's policy: `python workflows/play.py RUN_DIR`, while the run goes on, after it ended or was killed.
run folder --> its trial, or --trial --> the policy in that trial's newest checkpoint --> episodes, several at a time --> their returns
                                                                                      --> one more episode, drawn --> --video"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from workflows.cli.flags import UsageError, parse_plain, require, run_main
from workflows.experiment.episodes import make_envs, one_line, play_returns, record
from workflows.runs.files import RUN_FILE

# Which module's `load` and `greedy` play the policy of a run of which program: a run folder can name no other.
PLAYING = {"train_dqn": "algorithms.dqn.policy", "train_reinforce": "algorithms.reinforce.policy"}
POLICY_FILE = "policy.json"  # as in algorithms.rl.policy_files, whose import takes seconds
MOST_ENVS = 16


@dataclass(frozen=True)
class PlayFlags:
    """Play whole episodes with the policy of a run of train_dqn (its greedy actions) or train_reinforce (actions drawn from it)."""

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
    """Parse the flags, play, write, and return the exit code. What needs nothing loaded is checked first."""
    flags = parse_plain(PlayFlags, argv)
    run_dir, video = (
        Path(os.path.abspath(os.path.expanduser(path))) for path in (flags.run_dir, flags.video or "")
    )
    if flags.video is not None:
        writable = (
            os.path.isdir(video.parent)
            and os.access(video.parent, os.W_OK | os.X_OK)
            and not os.path.isdir(video)
        )
        require(
            writable, "--video", flags.video, "must be a file in a folder that exists and may be written to"
        )
        if missing := [name for name in ("av", "pygame") if importlib.util.find_spec(name) is None]:
            raise UsageError(
                f"--video needs {' and '.join(missing)}: pip install 'ray-training-workflows[video]'"
            )
    require(
        os.path.isfile(run_dir / RUN_FILE),
        "RUN_DIR",
        flags.run_dir,
        f"must be a run folder, with a {RUN_FILE}",
    )
    program, checkpoint = _choose(run_dir, flags.trial)
    import numpy as np
    import torch

    from algorithms.rl import vector_envs

    torch.set_num_threads(
        1
    )  # a small network gains nothing from more, and loses much where a training keeps the cores busy
    policy = importlib.import_module(PLAYING[program])
    with one_line(f"{checkpoint} can't be loaded; broken, or just being written?"):
        network, made_for = policy.load(checkpoint)
        if not (isinstance(made_for.env, str) and isinstance(made_for.env_config, dict)):
            raise TypeError(f"env {made_for.env!r}, env_config {made_for.env_config!r}")

    draws = not flags.greedy and hasattr(policy, "sampled")

    def acting(rng: Any, to_env: Any) -> Any:
        generator = torch.Generator().manual_seed(int(rng.integers(2**63)))

        def act(obs: Any) -> Any:
            seen = torch.from_numpy(obs)
            actions = (
                policy.sampled(network, seen, generator) if draws else policy.greedy(network, seen)
            ).numpy()
            return to_env(actions) if to_env else actions

        return act

    rng, video_rng = np.random.default_rng(flags.seed).spawn(2)  # two, so that a video changes no return
    with one_line(f"{checkpoint} can't be played"):
        creator, envs = make_envs(made_for, min(flags.episodes, MOST_ENVS))
        steps = f"{checkpoint.name}, after {made_for.num_env_steps_sampled_lifetime} env steps"
        print(
            f"{made_for.env}: trial {checkpoint.parent.name}, {steps}, {'sampled' if draws else 'greedy'}",
            flush=True,
        )
        to_env = vector_envs.to_env_actions(envs.single_action_space)
        if flags.video is not None:
            rewards = record(creator, made_for.env_config, acting(video_rng, to_env), video_rng, video)
            print(
                f"{flags.video}: one more episode, of return {sum(rewards):.2f} in {len(rewards)} steps",
                flush=True,
            )
        returns = play_returns(envs, acting(rng, to_env), rng, flags.episodes)
    print(f"mean_return={np.mean(returns):.2f} std={np.std(returns):.2f} episodes={len(returns)}")
    return 0


def _choose(run_dir: Path, wanted: str | None) -> tuple[str, Path]:
    """Return the run's program, and the newest checkpoint with a policy of its only trial, or of the one that is wanted."""
    from workflows.runs import files as run_files

    with one_line(f"{run_dir} can't be read; is its {RUN_FILE} broken?"):
        program = str(run_files.read_run(run_dir)["program"])
    if program not in PLAYING:
        raise UsageError(
            f"{run_dir} is a run of {program}, which has no policy; play.py knows {', '.join(PLAYING)}"
        )
    newest = {
        file.parent.parent.name: file.parent for file in sorted(run_dir.glob(f"*/checkpoint_*/{POLICY_FILE}"))
    }
    if not newest:
        raise UsageError(f"{run_dir} has no checkpoint with a {POLICY_FILE} yet")
    found = [trial_id for trial_id in newest if wanted is None or (wanted and trial_id.endswith(wanted))]
    if len(found) != 1:
        wrong = "must be given: one" if wanted is None else f"{wanted!r} fits {len(found) or 'none'}"
        raise UsageError(f"--trial {wrong} of the trials with a policy ({', '.join(newest)})")
    return program, newest[found[0]]


def main(argv: Sequence[str] | None = None) -> int:
    """Run `play` with one-line errors."""
    return run_main(play, "play.py", argv)


if __name__ == "__main__":
    sys.exit(main())
