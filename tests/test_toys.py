"""Two toys, built by the steps of CONTRIBUTING.md and outside the package: each goes from training to its end.

A search is analysed and sampled, a training analysed and played. What a page does not mention would fail here.
"""

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from processes import finish, start_workflow

from workflows import analyze, play, results, sample
from workflows.programs import PROGRAMS

TESTS = Path(__file__).parent
TOYS = TESTS / "toys"
WALK = (TESTS.parent / "CONTRIBUTING.md").read_text()


@pytest.fixture
def workflow(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The toy's workflow, whose import adds its row to the table; the row goes with the test."""
    monkeypatch.syspath_prepend(str(TOYS))
    before = dict(PROGRAMS)
    module = importlib.reload(importlib.import_module(request.param))
    yield module
    PROGRAMS.clear()
    PROGRAMS.update(before)


def run(workflow: ModuleType, address: str, storage: Path) -> Path:
    """Run the workflow with `--smoke` to its end; return its run folder."""
    flags = ("--smoke", "--address", address, "--storage-path", storage, "--name", "toy")
    code, out, err = finish(start_workflow(workflow, *flags))
    assert (code, err) == (0, ""), out
    assert analyze.main([str(storage / "toy")]) == 0
    return storage / "toy"


@pytest.mark.slow
@pytest.mark.parametrize("workflow", ["tune_toy"], indirect=True)
def test_a_toy_model_is_searched_analysed_and_sampled(
    workflow: ModuleType, ray_address: str, tmp_path: Path
) -> None:
    folder = run(workflow, ray_address, tmp_path)
    found = results.load(folder)
    assert found.program is PROGRAMS["tune_toy"]
    assert (found.trials["status"] == "TERMINATED").any()
    assert found.best() is not None
    assert sample.main([str(folder), "--num", "20", "--output", str(tmp_path / "toy.npz")]) == 0
    with np.load(tmp_path / "toy.npz") as drawn:
        assert (list(drawn), drawn["images"].shape) == (["images"], (20, 28, 28))
    interpolated = ["--interpolate", "--num", "20", "--output", str(tmp_path / "toy.png")]
    assert sample.main([str(folder), *interpolated]) == 0
    assert sample.main([str(folder), "--digit", "3", "--output", str(tmp_path / "toy.png")]) == 2


@pytest.mark.slow
@pytest.mark.parametrize("workflow", ["train_toy_rl"], indirect=True)
def test_a_toy_algorithm_is_trained_analysed_and_played(
    workflow: ModuleType, ray_address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run(workflow, ray_address, tmp_path)
    found = results.load(folder)
    assert found.program is PROGRAMS["train_toy_rl"]
    assert found.trials["status"].tolist() == ["TERMINATED"]
    capsys.readouterr()
    assert play.main([str(folder), "--episodes", "3"]) == 0
    last_line = capsys.readouterr().out.splitlines()[-1]
    assert re.fullmatch(r"mean_return=\S+ std=\S+ episodes=3", last_line), last_line


@pytest.mark.parametrize(
    ("heading", "package", "workflow", "most_lines"),
    [
        ("Add a generative model", "toy", "tune_toy.py", 250),
        ("Add an RL algorithm", "toy_rl", "train_toy_rl.py", 320),
    ],
)
def test_the_walk_names_every_file_of_the_toy_and_no_other(
    heading: str, package: str, workflow: str, most_lines: int
) -> None:
    walk = WALK.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    named = set(re.findall(r"^\|[^|]*\| `(\S+)` \|", walk, flags=re.MULTILINE))
    files = [*(TOYS / package).glob("*.py"), TOYS / workflow]
    own = {f"algorithms/{package}/{path.name}" for path in files[:-1]} | {f"workflows/{workflow}"}
    assert named == own | {"workflows/programs.py"}
    assert sum(len(path.read_text().splitlines()) for path in files) <= most_lines
