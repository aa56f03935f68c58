"""The README's Python runs as it stands there, but for a shorter training and another run folder; its commands, and those of the pages on
clusters, have flags that exist."""

import importlib
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from run_folders import line, make_run

README = (Path(__file__).parent.parent / "README.md").read_text()
CLUSTER = (Path(__file__).parent.parent / "docs/cluster.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def block_with(word: str) -> str:
    return next(block for block in BLOCKS if word in block)


def test_the_tables_example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def reports(*values: float) -> str:
        return "".join(
            line(i, value, fid_mnist=value, updates=250 * i) for i, value in enumerate(values, start=1)
        )

    trials = [
        {"trial_id": "t_0", "status": "TERMINATED", "config": {"width": 16}, "reports": reports(9, 8, 7)},
        {"trial_id": "t_1", "status": "TERMINATED", "config": {"width": 32}, "reports": reports(9, 5, 4)},
        {"trial_id": "t_2", "status": "RUNNING", "config": {"width": 32}, "reports": reports(9, 3)},
    ]
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ray_results").mkdir()
    for name in ("wide", "gan"):
        make_run(tmp_path / "ray_results" / name, trials)
    names: dict[str, object] = {}
    exec(block_with("load_trials"), names)
    assert list(names["ended"]["trial_id"]) == ["t_0", "t_1"]  # type: ignore[index]
    out = capsys.readouterr().out
    assert re.search(r"fid_mnist +4 +7\nconfig/width +32 +16", out), "the five best, the best first"
    assert re.search(r"16 +1 +7\.?0? +7\.0\n32 +1 +4\.?0? +4\.0", out)
    assert re.search(r"wide +3 +0 ", out)
    assert (tmp_path / "curves.png").stat().st_size > 5000


def test_the_trainer_example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    source = (
        block_with("Trainer(")
        .replace("mnist.load()", 'mnist.load("mnist-10k")')
        .replace("train(250)", "train(2)")
    )
    names: dict[str, object] = {}
    exec(source, names)
    assert "generator_loss" in capsys.readouterr().out
    assert tuple(names["digits"].shape) == (64, 28, 28)  # type: ignore[attr-defined]
    assert (tmp_path / "gan.pt").stat().st_size > 1e6


def test_the_rllib_example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ray_address: str
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(block_with("DQNConfig").replace("range(10)", "range(2)"), {})
    assert len(capsys.readouterr().out.split()) == 3
    assert (tmp_path / "checkpoint" / "policy.safetensors").exists()


@pytest.mark.parametrize(
    "workflow",
    ["tune_gan", "tune_cvae", "train_dqn", "train_reinforce", "analyze", "sample", "play", "local_cluster"],
)
def test_every_flag_it_names_exists(workflow: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        importlib.import_module(f"workflows.{workflow}").main(["--help"])
    known = set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out))
    commands = re.findall(rf"workflows/{workflow}.py ([^`'#\n]*)", README + CLUSTER)
    assert commands
    used = {flag for command in commands for flag in re.findall(r"--[a-z][a-z-]+", command)}
    assert used <= known


def test_the_commands_and_files_about_clusters_can_be_read() -> None:
    blocks = re.findall(r"```(bash|yaml)\n(.*?)```", CLUSTER, flags=re.DOTALL)
    for language, block in blocks:
        if language == "bash":
            checked = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True)
            assert (checked.returncode, checked.stderr) == (0, ""), block
        else:
            assert all(isinstance(part, dict) for part in yaml.safe_load_all(block))
    assert {language for language, _ in blocks} == {"bash", "yaml"}
