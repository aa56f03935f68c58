"""The doors between rooms, read from the source: every import counts, in functions and for types alone, too.

Rooms, doors and limits are those of docs/architecture.md. Each rule has a test that it catches its breach.
"""

import ast
import graphlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MOST_LINES, MOST_FUNCTION_LINES = 250, 50

BASE = {"algorithms", "algorithms.checks", "algorithms.divergence", "algorithms.lazy", "algorithms.schedules"}
GENERATIVE = BASE | {"algorithms.mnist", "algorithms.scoring", "algorithms.generative"}
ALGORITHM_DOORS = {
    "algorithms.mnist": BASE,
    "algorithms.scoring": BASE | {"algorithms.mnist"},
    "algorithms.generative": GENERATIVE,
    "algorithms.rl": BASE,
    "algorithms.gan": GENERATIVE,
    "algorithms.cvae": GENERATIVE,
    "algorithms.dqn": BASE | {"algorithms.rl"},
    "algorithms.reinforce": BASE | {"algorithms.rl"},
}
"""Room -> the rooms that it may import from, besides itself."""
WORKFLOW_LEVELS = ["workflows", "workflows.cli", "workflows.programs", "workflows.runs", "workflows.results",
                   "workflows.report", "workflows.experiment"]  # fmt: skip
"""Rooms from the lowest to the highest; a room imports from lower ones. The programs are above them all."""

KNOWS_RAY = {
    "algorithms.generative.trainable",
    *(f"algorithms.rl.{name}" for name in ("algorithm", "config", "env_runner", "learner", "runner_pool", "samplers")),
    *(f"algorithms.{name}" for name in ("dqn.dqn", "dqn.learner", "reinforce.reinforce", "reinforce.learner")),
}  # fmt: skip
READS_RUN_FOLDERS = {
    "workflows.cli",
    "workflows.programs",
    "workflows.runs",
    "workflows.results",
    "workflows.report",
}
HEAVY = {"ray", "torch", "torchvision", "pandas", "gymnasium"}
RLLIBS_PRIVATE_NAMES = {"_worker_manager", "_in_flight_req_to_actor_id", "_actors", "_private"}


@dataclass(frozen=True)
class Module:
    """A file of the packages, and what it imports."""

    name: str
    source: str

    @property
    def room(self) -> str:
        """The part of the layout that it belongs to: a folder of the package, or a file beside the
        folders.
        """
        return ".".join(self.name.split(".")[:2])

    def imports(self, at_top_only: bool = False) -> Iterator[str]:
        """Yield the full names of what it imports, those of lazy exports included."""
        tree = ast.parse(self.source)
        nodes = list(self._runs_at_import(tree.body)) if at_top_only else list(ast.walk(tree))
        for node in nodes:
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, "imports are absolute"
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            elif not at_top_only and isinstance(node, ast.Call) and ast.unparse(node.func) == "exports":
                yield from (f"{self.name}.{ast.literal_eval(one.value)}" for one in node.keywords)

    def _runs_at_import(self, body: list[ast.stmt]) -> Iterator[ast.stmt]:
        for node in body:
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                continue
            yield node
            if isinstance(node, ast.If | ast.Try | ast.With):
                yield from self._runs_at_import(node.body)


def modules() -> dict[str, Module]:
    """Return all modules of the two packages by name."""
    found = {}
    for package in ("algorithms", "workflows"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            found[name] = Module(name, path.read_text())
    return found


MODULES = modules()


def within(name: str, known: dict[str, Module]) -> str | None:
    """Return the module that an imported name is, or lies in; None for one of another project."""
    parts = name.split(".")
    candidates = [".".join(parts[:end]) for end in range(len(parts), 0, -1)]
    return next((candidate for candidate in candidates if candidate in known), None)


def is_program(module: Module) -> bool:
    """Return whether a person runs it."""
    return module.name.startswith("workflows.") and module.room not in WORKFLOW_LEVELS


def wrong_doors(module: Module) -> list[str]:
    """Return which imports go through a door that there is not."""
    wrong = []
    for name in module.imports():
        target = within(name, MODULES | {module.name: module})
        if target is None:
            continue
        room = Module(target, "").room
        if module.name.startswith("algorithms"):
            allowed = ALGORITHM_DOORS.get(module.room, BASE) | {module.room}
            if room not in allowed:
                wrong.append(f"{module.room} must not import {name}")
        elif is_program(module):
            if room.startswith("workflows.") and room not in WORKFLOW_LEVELS:
                wrong.append(f"a program must not import another: {name}")
        elif room.startswith("workflows"):
            level = WORKFLOW_LEVELS.index(module.room)
            if room not in WORKFLOW_LEVELS[: level + 1]:
                wrong.append(f"{module.room} must not import {name}, which is above it")
    return wrong


def wrong_weights(module: Module) -> list[str]:
    """Return which imports of other projects are too heavy for where they are."""
    tops = {name.split(".")[0] for name in module.imports()}
    wrong = []
    if module.name.startswith("algorithms") and "ray" in tops and module.name not in KNOWS_RAY:
        wrong.append("only the modules of KNOWS_RAY may import ray")
    if module.room in READS_RUN_FOLDERS and tops & {"ray", "torch"}:
        wrong.append("a run folder must be readable without ray and torch")
    if module.name.endswith(".options") and tops & {"ray", "torch"}:
        wrong.append("options must need neither ray nor torch")
    if is_program(module):
        found = {name.split(".")[0] for name in at_top(module)}
        wrong += [
            f"a program must not import {name} before its flags are parsed" for name in sorted(found & HEAVY)
        ]
    return wrong


def at_top(module: Module, seen: set[str] | None = None) -> set[str]:
    """Return the names that are imported when the module is, by it or by what it imports."""
    seen = set() if seen is None else seen
    names = set(module.imports(at_top_only=True))
    for name in list(names):
        target = within(name, MODULES)
        if target is not None and target not in seen:
            seen.add(target)
            names |= at_top(MODULES[target], seen)
    return names


def circle(found: dict[str, Module]) -> list[str]:
    """Return the modules of a circle of imports, or nothing."""
    arrows = {}
    for module in found.values():
        targets = {within(name, found) for name in module.imports()}
        arrows[module.name] = {target for target in targets if target and target != module.name}
    try:
        tuple(graphlib.TopologicalSorter(arrows).static_order())
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def too_long(module: Module) -> list[str]:
    """Return what has more lines than a file or a function may have."""
    num_lines = len(module.source.splitlines())
    wrong = [f"{num_lines} lines"] if num_lines > MOST_LINES else []
    for node in ast.walk(ast.parse(module.source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            length = node.end_lineno - node.lineno + 1
            if length > MOST_FUNCTION_LINES:
                wrong.append(f"{node.name} has {length} lines")
    return wrong


def private_names(module: Module) -> list[str]:
    """Return the private names of RLlib's actor groups that it uses, where it may not."""
    if module.name == "algorithms.rl.runner_pool":
        return []
    attributes = {node.attr for node in ast.walk(ast.parse(module.source)) if isinstance(node, ast.Attribute)}
    return sorted(attributes & RLLIBS_PRIVATE_NAMES)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_module_keeps_the_rules(name: str) -> None:
    module = MODULES[name]
    assert wrong_doors(module) == []
    assert wrong_weights(module) == []
    assert too_long(module) == []
    assert private_names(module) == []


def test_there_is_no_circle() -> None:
    assert circle(MODULES) == []


def test_every_room_is_there() -> None:
    rooms = {module.room for module in MODULES.values()}
    assert set(ALGORITHM_DOORS) | set(WORKFLOW_LEVELS) | BASE <= rooms
    assert set(MODULES) >= KNOWS_RAY


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("algorithms.gan.trainer", "from algorithms.cvae.losses import elbo"),
        ("algorithms.gan.trainer", "from algorithms import cvae"),
        ("algorithms.rl.stepper", "def f():\n    from algorithms.dqn import losses"),
        ("algorithms.rl.learner", "from algorithms.generative.precision import autocast"),
        ("algorithms.generative.trainable", "from workflows.experiment import search"),
        ("algorithms.checks", "import algorithms.rl.options"),
        ("workflows.cli.flags", "from workflows import programs"),
        ("workflows.runs.files", "if TYPE_CHECKING:\n    from workflows.results import Run"),
        ("workflows.report.html", "def f():\n    import workflows.experiment.search"),
        ("workflows.experiment.search", "from workflows import tune_gan"),
        ("workflows.tune_gan", "from workflows import tune_cvae"),
    ],
)
def test_a_wrong_door_is_caught(name: str, source: str) -> None:
    assert wrong_doors(Module(name, source)) != []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("algorithms.gan.losses", "import ray"),
        ("algorithms.rl.stepper", "if TYPE_CHECKING:\n    import ray"),
        ("algorithms.gan.options", "def f():\n    import torch"),
        ("workflows.results", "from ray import tune"),
        ("workflows.report.html", "def f():\n    import torch"),
        ("workflows.tune_gan", "import torch"),
        ("workflows.tune_gan", "from workflows import results"),
        ("workflows.tune_gan", "from algorithms.gan.trainer import GANTrainer"),
    ],
)
def test_a_heavy_import_is_caught(name: str, source: str) -> None:
    assert wrong_weights(Module(name, source)) != []


@pytest.mark.parametrize(
    "sources",
    [
        {"a": "import b", "b": "def f():\n    import a"},
        {"a": "from b import x", "b": "import c", "c": "if TYPE_CHECKING:\n    from a import y"},
        {"p": '__getattr__, __dir__ = exports(__name__, X="m")', "p.m": "from p import X"},
    ],
)
def test_a_circle_is_caught(sources: dict[str, str]) -> None:
    assert circle({name: Module(name, source) for name, source in sources.items()}) != []


def test_what_is_too_long_or_private_is_caught() -> None:
    assert too_long(Module("algorithms.rl.stepper", "\n" * 251)) == ["251 lines"]
    assert too_long(Module("a", "def f():\n" + "    pass\n" * 50)) == ["f has 51 lines"]
    assert too_long(Module("a", "def f():\n" + "    pass\n" * 49)) == []
    assert private_names(Module("algorithms.rl.samplers", "group._worker_manager")) == ["_worker_manager"]
