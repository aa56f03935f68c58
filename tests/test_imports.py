"""Who may import whom, read from the source: the rules of docs/architecture.md."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RAY_AWARE = {
    "algorithm.py",
    "env_runner.py",
    "collector.py",
    "learner.py",
    "dqn.py",
    "reinforce.py",
    "trainable.py",
}
READS_RUN_FOLDERS = {
    "run_files.py",
    "results.py",
    "metrics.py",
    "charts.py",
    "importances.py",
    "figures.py",
    "interactive.py",
    "report.py",
    "analysis.py",
}
FOLDERS = {"gan", "cvae", "dqn", "reinforce"}
FILES = sorted(
    path.relative_to(ROOT)
    for package in ("algorithms", "workflows")
    for path in (ROOT / package).rglob("*.py")
)


def imported(source: str, top_level_only: bool = False) -> Iterator[str]:
    """Yield the full names of the modules that a source imports."""
    tree = ast.parse(source)
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def violations(path: Path, source: str) -> list[str]:
    """Return what is wrong with the imports of the file `path`."""
    names = list(imported(source))
    tops = {name.split(".")[0] for name in names}
    wrong = []
    if path.parts[0] == "algorithms":
        if "workflows" in tops:
            wrong.append("algorithms must not import workflows")
        if "ray" in tops and path.name not in RAY_AWARE:
            wrong.append("only " + ", ".join(sorted(RAY_AWARE)) + " may import ray")
        if path.parts[1] in FOLDERS:
            others = FOLDERS - {path.parts[1]}
            wrong += [
                f"an algorithm must not import another: {name}"
                for name in names
                if name.split(".")[0:2] in [["algorithms", o] for o in others]
            ]
        if path.name == "options.py" and tops & {"ray", "torch"}:
            wrong.append("options must import neither ray nor torch, so that --help stays instant")
    if (
        path.parts[:2] == ("workflows", "common")
        and path.name in READS_RUN_FOLDERS
        and tops & {"ray", "torch"}
    ):
        wrong.append("a run folder must be readable without ray and torch")
    if path.parts[0] == "workflows" and len(path.parts) == 2 and path.name != "results.py":
        heavy = {name.split(".")[0] for name in imported(source, top_level_only=True)} & {
            "ray",
            "torch",
            "torchvision",
            "pandas",
        }
        wrong += [f"an entry point must not import {name} at its top" for name in sorted(heavy)]
    return wrong


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_keep_the_rules(path: Path) -> None:
    assert violations(path, (ROOT / path).read_text()) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("algorithms/gan/losses.py", "import ray"),
        ("algorithms/gan/trainer.py", "from algorithms.cvae.losses import elbo"),
        ("algorithms/gan/trainer.py", "from algorithms import cvae"),
        ("algorithms/trainable.py", "from workflows.common import search"),
        ("algorithms/gan/options.py", "def f():\n    import torch"),
        ("workflows/tune_gan.py", "import torch"),
        ("workflows/common/results.py", "from ray import tune"),
        ("workflows/common/report.py", "def f():\n    import torch"),
    ],
)
def test_each_rule_catches_its_breach(path: str, source: str) -> None:
    assert violations(Path(path), source) != []
