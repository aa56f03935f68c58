"""The Python of the README, the guide and the FAQ runs as it is written, except for shorter trainings and
other folders."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from run_folders import line, make_run

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "docs/guide.md", "docs/faq.md")
BLOCKS = [
    block
    for page in PAGES
    for block in re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)
]
TRIED = (
    "algo.save_to_path",
    "load_trials",
    'torch.save(state, "gan.pt")',
    "REINFORCEConfig",
    "class Corridor",
    "class MyModule",
    'MNIST("noise"',
    "policy_files.load",
)
"""What each block is found by; the tests below run one each."""


def block_with(words: str) -> str:
    found = [block for block in BLOCKS if words in block]
    assert len(found) == 1
    return found[0]


def test_every_block_is_run_below() -> None:
    assert sorted(map(block_with, TRIED)) == sorted(BLOCKS)


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
    names: dict[str, Any] = {}
    exec(block_with("load_trials"), names)
    assert list(names["ended"]["trial_id"]) == ["t_0", "t_1"]
    out = capsys.readouterr().out
    assert re.search(r"fid_mnist +4 +7\nconfig/width +32 +16", out), "the five best, the best first"
    assert re.search(r"16 +1 +7\.?0? +7\.0\n32 +1 +4\.?0? +4\.0", out)
    assert re.search(r"wide +3 +0 ", out)
    assert (tmp_path / "curves.png").stat().st_size > 5000


def test_the_trainers_example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    source = block_with("gan.pt").replace("mnist.load()", 'mnist.load("mnist-10k")')
    names: dict[str, Any] = {}
    exec(source.replace("train(250)", "train(2)"), names)
    assert "generator_loss" in capsys.readouterr().out
    assert tuple(names["digits"].shape) == (64, 28, 28)
    assert (tmp_path / "gan.pt").stat().st_size > 1e6


def test_the_example_with_own_data(capsys: pytest.CaptureFixture[str]) -> None:
    exec(block_with('MNIST("noise"').replace("GANOptions()", "GANOptions(width=4)"), {})
    assert "generator_loss" in capsys.readouterr().out


def test_the_example_of_an_environment() -> None:
    names: dict[str, Any] = {}
    exec(block_with("class Corridor"), names)
    env = names["Corridor"]({"length": 3})
    obs, _ = env.reset(seed=0)
    assert env.observation_space.contains(obs)
    steps = [env.step(1) for _ in range(3)]
    assert [(reward, terminated) for _, reward, terminated, _, _ in steps] == [
        (-1.0, False),
        (-1.0, False),
        (-1.0, True),
    ]
    env.reset(seed=0)
    truncated = [env.step(0)[3] for _ in range(200)]
    assert truncated == [False] * 199 + [True]


def test_the_example_of_a_network(ray_address: str) -> None:
    names: dict[str, Any] = {}
    exec(block_with("class MyModule"), names)
    algo = names["config"].build_algo()
    try:
        assert algo.train()["env_runners"]["episode_return_mean"] > 0
        assert type(algo.get_module()).__name__ == "MyModule"
    finally:
        algo.stop()


def test_the_example_of_reinforce(ray_address: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(block_with("REINFORCEConfig"), {})
    assert float(capsys.readouterr().out.split()[-1]) > 0


def test_the_examples_of_rllib_and_of_a_policy_without_ray(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ray_address: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    exec(block_with("algo.save_to_path").replace("range(10)", "range(2)"), {})
    assert len(capsys.readouterr().out.split()) == 3
    assert (tmp_path / "checkpoint" / "policy.safetensors").exists()

    shutil.move(tmp_path / "checkpoint", tmp_path / "ray_results" / "cart" / "t_0" / "checkpoint_000000")
    names: dict[str, Any] = {}
    exec(block_with("policy_files.load"), names)
    assert int(names["action"]) in (0, 1)
