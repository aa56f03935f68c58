"""`play.py` on run folders made by hand, with policies in them whose returns are known."""

import dataclasses
import importlib.util
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from policy_folders import CARTPOLE, Uneven, describe, save
from run_folders import make_run

from algorithms.rl.policy_files import DESCRIPTION_FILE, PolicyDescription
from workflows import play
from workflows.cli import terminal
from workflows.runs import policies

UNEVEN = f"{Uneven.__module__}.Uneven"

needs_video = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("av", "pygame")),
    reason="needs the extra `video`: make install",
)


def make(
    folder: Path, description: PolicyDescription = CARTPOLE, sign: float = 1.0, program: str = "train_dqn"
) -> Path:
    """Make a run whose older checkpoint has a policy that does badly."""
    run = make_run(folder, [{"trial_id": "a_00000", "status": "RUNNING", "config": {}}])
    record = json.loads((run / "run.json").read_text()) | {"program": program}
    (run / "run.json").write_text(json.dumps(record))
    save(run / "a_00000" / "checkpoint_000009", sign=-1.0)
    save(run / "a_00000" / "checkpoint_000010", description, sign)
    return run


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Uneven, "numbers", itertools.count())
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def played(run: Path, *flags: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the lines that play.py prints."""
    code = play.main([str(run), *flags])
    said = capsys.readouterr()
    assert (code, said.err) == (0, "")
    return said.out.splitlines()


def numbers(line: str) -> tuple[float, float, int]:
    """Return mean, standard deviation and number of episodes of a last line."""
    mean, std, episodes = line.split(" ")
    return (
        float(mean.removeprefix("mean_return=")),
        float(std.removeprefix("std=")),
        int(episodes.removeprefix("episodes=")),
    )


def test_it_knows_what_the_module_that_it_does_not_import_says() -> None:
    assert policies.POLICY_FILE == DESCRIPTION_FILE


def test_a_policy_that_balances_gets_500_from_the_newest_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, last = played(make(tmp_path / "run"), "--episodes", "20", capsys=capsys)
    assert first == "CartPole-v1: trial a_00000, checkpoint_000010, after 5000 env steps, greedy"
    assert numbers(last) == (500, 0, 20)
    assert os.listdir() == ["run"]


def test_one_that_pushes_the_wrong_way_falls_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mean, std, episodes = numbers(played(make(tmp_path / "run", sign=-1.0), capsys=capsys)[-1])
    assert 8 < mean < 11
    assert std < 2
    assert episodes == 100


def test_a_seed_fixes_the_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make(tmp_path / "run", sign=-1.0)
    first, again, other = (played(run, "--seed", seed, capsys=capsys)[-1] for seed in ("1", "1", "2"))
    assert first == again != other


@pytest.mark.parametrize(
    ("episodes", "mean"), [(32, (2 * 100 + 30) / 32), (17, (2 * 100 + 15) / 17), (1, 100)]
)
def test_every_environment_plays_its_share_so_that_short_episodes_are_not_preferred(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], episodes: int, mean: float
) -> None:
    run = make(tmp_path / "run", describe(UNEVEN))
    share = (mean - 1) / 99  # of the episodes are long, those of one of 16 environments
    expected = f"mean_return={mean:.2f} std={99 * (share * (1 - share)) ** 0.5:.2f} episodes={episodes}"
    assert played(run, "--episodes", str(episodes), capsys=capsys)[-1] == expected


def test_what_takes_long_says_how_far_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "FIRST_PROGRESS_S", 0.0)
    lines = played(make(tmp_path / "run"), "--episodes", "3", capsys=capsys)
    assert lines[1] == "0 of 3 episodes after 0 s"
    assert numbers(lines[-1])[2] == 3


def test_the_trial_is_named_where_there_are_several(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make(tmp_path / "run")
    save(run / "a_00001" / "checkpoint_000000", sign=-1.0)
    (run / "a_00002" / "checkpoint_000000").mkdir(parents=True)
    assert (
        "trial a_00001, checkpoint_000000" in played(run, "--trial", "1", "--episodes", "1", capsys=capsys)[0]
    )
    for flags, words in (
        ([], "--trial must be given: one of the trials with a policy (a_00000, a_00001)"),
        (["--trial", "00002"], "--trial '00002' fits none of the trials with a policy (a_00000, a_00001)"),
        (["--trial", ""], "--trial '' fits none of"),
    ):
        assert play.main([str(run), *flags]) == 2
        assert words in capsys.readouterr().err


def test_a_checkpoint_that_has_only_begun_is_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make(tmp_path / "run")
    (run / "a_00000" / "checkpoint_000011").mkdir()
    assert "checkpoint_000010" in played(run, "--episodes", "1", capsys=capsys)[0]


# Videos


@needs_video
def test_a_video_is_one_more_episode_and_changes_no_return(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make(tmp_path / "run", sign=-1.0)
    without = played(run, "--seed", "3", capsys=capsys)
    first, shown, last = played(run, "--seed", "3", "--video", "a.mp4", capsys=capsys)
    assert [first, last] == without
    steps = int(shown.split()[-2])
    assert shown == f"a.mp4: one more episode, of return {steps}.00 in {steps} steps"
    assert sorted(os.listdir()) == ["a.mp4", "run"]


def test_without_the_extra_it_says_how_to_get_it_before_anything_is_looked_at(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setitem(sys.modules, "pygame", None)
    assert play.main(["no run folder", "--video", "a.mp4"]) == 2
    assert (
        capsys.readouterr().err
        == "play.py: --video needs av and pygame: pip install 'ray-training-workflows[video]'\n"
    )


@needs_video
@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"fails": True}, "play.py: the episode can't be drawn (OSError: the simulator is gone)\n"),
        ({"shape": [1, 1, 3]}, "a.mp4 can't be written ("),
    ],
)
def test_a_video_that_can_not_be_made_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], config: dict[str, Any], words: str
) -> None:
    run = make(tmp_path / "run", describe(UNEVEN, **config))
    assert play.main([str(run), "--video", "a.mp4"]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert os.listdir() == ["run"]


def test_a_folder_that_may_not_be_written_to_is_refused_before_anything_is_loaded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    assert play.main(["no run folder, which is looked at later", "--video", "a.mp4"]) == 2
    assert (
        "--video must be a file in a folder that exists and may be written to, got 'a.mp4'"
        in capsys.readouterr().err
    )


# Wrong input


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--episodes", "0"], "--episodes must be 1 to 1000000, got 0"),
        (["--episodes", "many"], "--episodes"),
        (["--seed", "-1"], "--seed must be at least 0 and below 2**32, got -1"),
        (["--banana"], "--banana"),
        (["--video", "a.avi"], "--video must end in .mp4 or .gif, got 'a.avi'"),
        (["--video", ""], "--video must end in .mp4 or .gif, got ''"),
        (
            ["--video", "nowhere/a.mp4"],
            "--video must be a file in a folder that exists and may be written to, got 'nowhere/a.mp4'",
        ),
        (["--video", "run/taken.gif"], "--video must be a file in a folder that exists"),
        (["--trial", "9"], "--trial '9' fits none of the trials with a policy (a_00000)"),
    ],
    ids=" ".join,
)
def test_a_wrong_flag_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], words: str
) -> None:
    (make(tmp_path / "run") / "taken.gif").mkdir()
    refused(["run", *flags], words, capsys)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "RUN_DIR must be a run folder, with a run.json, got 'run'"),
        ("{", "run can't be read; is its run.json broken? (JSONDecodeError"),
        ("[]", "run can't be read; is its run.json broken? (ValueError"),
        ("{}", "run can't be read; is its run.json broken? (KeyError: 'program')"),
        (
            '{"program": "tune_gan"}',
            "run is a run of tune_gan, which has no policy; play.py knows train_dqn, train_reinforce",
        ),
    ],
)
def test_what_is_no_run_with_a_policy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, words: str
) -> None:
    run_file = make(tmp_path / "run") / "run.json"
    run_file.unlink() if text is None else run_file.write_text(text)
    refused(["run"], words, capsys)


def test_a_run_that_has_saved_nothing_yet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for checkpoint in make(tmp_path / "run").glob("*/checkpoint_*"):
        shutil.rmtree(checkpoint)
    refused(["run"], "run has no checkpoint with a policy.json yet", capsys)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("policy.safetensors", None),
        ("policy.safetensors", b""),
        ("policy.safetensors", -4),
        ("policy.safetensors", b"no weights at all"),
        ("policy.json", -20),
        ("policy.json", b"\xff\xfe"),
        ("policy.json", b"[]"),
        ("policy.json", b'{"env": "CartPole-v1"}'),
        ("policy.json", {"obs_size": 5}),
        ("policy.json", {"obs_size": "four"}),
        ("policy.json", {"fcnet_activation": "sine"}),
        ("policy.json", {"fcnet_hiddens": [3]}),
        ("policy.json", {"env": None}),
        ("policy.json", {"env_config": "touch x"}),
        ("policy.json", {"more": 1}),
    ],
    ids=str,
)
def test_a_broken_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str, content: Any
) -> None:
    path = make(tmp_path / "run") / "a_00000" / "checkpoint_000010" / file
    if content is None:
        path.unlink()
    elif isinstance(content, int):
        path.write_bytes(path.read_bytes()[:content])
    elif isinstance(content, dict):
        path.write_text(json.dumps(json.loads(path.read_text()) | content))
    else:
        path.write_bytes(content)
    refused(["run"], f"{path.parent} can't be loaded; broken, or just being written? (", capsys)


@pytest.mark.parametrize(
    ("env", "config", "words"),
    [
        ("maze", {}, "env 'maze' is no environment that Gymnasium knows, nor registered with ray.tune"),
        ("nowhere.Maze", {}, "play.py does not know what other code registers"),
        ("nowhere:Maze-v0", {}, "env 'nowhere:Maze-v0' is no environment"),
        ("CartPole-v1", {"speed": 3}, "env 'CartPole-v1' can't be made: TypeError"),
        ("Acrobot-v1", {}, "env 'Acrobot-v1' has Box("),
        ("Pendulum-v1", {}, "env 'Pendulum-v1' must have discrete actions from 0 on"),
        ("FrozenLake-v1", {}, "env 'FrozenLake-v1' must have observations of a Box"),
        (UNEVEN, {"fails": True}, "OSError: the simulator is gone"),
        (f"{Uneven.__module__}.uneven", {}, ".uneven' must be a class of gymnasium.Env"),
        ("subprocess.run", {"touch": 1, "x": 1}, "env 'subprocess.run' must be a class of gymnasium.Env"),
        ("subprocess.Popen", {"touch": 1, "x": 1}, "env 'subprocess.Popen' must be a class of gymnasium.Env"),
    ],
)
def test_an_environment_that_can_not_be_played(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], env: str, config: dict[str, Any], words: str
) -> None:
    description = dataclasses.replace(CARTPOLE if env[0] == "C" else describe(""), env=env, env_config=config)
    refused([str(make(tmp_path / "run", description))], words, capsys)


def refused(argv: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Assert exit code 2, one line that has these words, and that no file has changed."""
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*")}
    assert play.main(argv) == 2
    said = capsys.readouterr()
    assert said.err.startswith("play.py: ")
    assert said.err.count("\n") == 1
    assert words in said.err
    assert "mean_return" not in said.out
    assert {path: path.stat().st_mtime_ns for path in Path().rglob("*")} == before


# What it imports


def test_it_plays_without_ray_and_helps_without_anything_heavy(tmp_path: Path) -> None:
    script = """
        import sys
        from workflows import play
        try:
            play.main(["--help"])
        except SystemExit as exit_:
            assert exit_.code == 0
        assert not {"ray", "torch", "pandas", "numpy", "gymnasium"} & set(sys.modules)
        assert play.main(sys.argv[1:]) == 0
        assert "ray" not in sys.modules
    """
    command = [
        sys.executable,
        "-W",
        "error",
        "-c",
        "if True:" + script,
        str(make(tmp_path / "run")),
        "--episodes",
        "1",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "RUN_DIR" in done.stdout
    assert numbers(done.stdout.splitlines()[-1])[2] == 1
