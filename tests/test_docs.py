"""The documentation agrees with the code: links lead somewhere, flags and settings are the ones that
exist.
"""

import importlib
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from algorithms.dqn import DQNConfig
from algorithms.reinforce import REINFORCEConfig

ROOT = Path(__file__).parent.parent
PAGES = {
    path.name: path for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"))
}
TEXTS = {name: path.read_text() for name, path in PAGES.items()}
WORKFLOWS = (
    "tune_gan",
    "tune_cvae",
    "train_dqn",
    "train_reinforce",
    "analyze",
    "sample",
    "play",
    "local_cluster",
)


def without_code(text: str) -> str:
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives a page's headings."""
    found: list[str] = []
    for heading in re.findall(r"^#+ (.*)$", without_code(text), flags=re.MULTILINE):
        words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        earlier = sum(re.fullmatch(rf"{re.escape(anchor)}(-\d+)?", other) is not None for other in found)
        found.append(f"{anchor}-{earlier}" if earlier else anchor)
    return set(found)


def flags_of(workflow: str, capsys: pytest.CaptureFixture[str]) -> set[str]:
    with pytest.raises(SystemExit):
        importlib.import_module(f"workflows.{workflow}").main(["--help"])
    return set(re.findall(r"--[a-z][a-z0-9-]+", capsys.readouterr().out))


def section(page: str, heading: str) -> str:
    """Return what stands under a heading of the second level."""
    return TEXTS[page].partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def table_rows(text: str) -> list[list[str]]:
    """Return the cells of all rows of all tables, without the lines under their heads."""
    rows = [line.strip().strip("|") for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)] for row in rows]
    return [row for row in cells if not set("".join(row)) <= set("- ")]


def test_anchors_are_those_of_github() -> None:
    text = "# One's own: `a.py`\n## Sources\n```\n# a comment\n```\n## Sources\n"
    assert anchors(text) == {"ones-own-apy", "sources", "sources-1"}


@pytest.mark.parametrize("page", sorted(PAGES))
def test_every_link_and_picture_of_a_page_exists(page: str) -> None:
    links = re.findall(r"\]\(([^)]+)\)", without_code(TEXTS[page])) + re.findall(
        r'src="([^"]+)"', TEXTS[page]
    )
    inner = [link for link in links if "://" not in link]
    assert inner
    for link in inner:
        path, _, anchor = link.partition("#")
        target = (PAGES[page].parent / path).resolve() if path else PAGES[page]
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text()), link


def test_the_readme_is_short() -> None:
    assert len(TEXTS["README.md"].splitlines()) <= 150


def test_the_reference_setting_has_one_name() -> None:
    """`--preset homework` is the flag's value; the page of results says where the name comes from."""
    allowed = (
        "--preset homework",
        "`homework` is the reference setting",
        "comes from the homework of a course",
    )
    for name, text in TEXTS.items():
        words = " ".join(text.split())
        for phrase in allowed:
            words = words.replace(phrase, "")
        assert "homework" not in words, name


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_every_flag_in_a_command_exists(workflow: str, capsys: pytest.CaptureFixture[str]) -> None:
    pages = "\n".join(TEXTS.values())
    commands = re.findall(rf"workflows/{workflow}\.py ([^`'#\n]*)", pages)
    assert commands
    used = {flag for command in commands for flag in re.findall(r"--[a-z][a-z0-9-]+", command)}
    assert used <= flags_of(workflow, capsys)


@pytest.mark.parametrize("workflow", WORKFLOWS[:4])
def test_the_guide_names_every_flag_of_a_workflow(workflow: str, capsys: pytest.CaptureFixture[str]) -> None:
    known = {
        flag
        for flag in flags_of(workflow, capsys)
        if flag not in ("--help", "--no-smoke", "--no-synchronous")
    }
    named = set(re.findall(r"`(--[a-z][a-z0-9-]+)`", section("guide.md", "Flags")))
    assert known - named == set()


def test_the_guide_names_no_flag_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    known = set().union(*(flags_of(workflow, capsys) for workflow in WORKFLOWS[:4]))
    named = set(re.findall(r"`(--[a-z][a-z0-9-]+)`", section("guide.md", "Flags")))
    assert named - known == set()


def test_every_test_that_the_theory_names_exists() -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", TEXTS["theory.md"])) - {
        "test_theory",
        "test_priors",
        "test_exact",
    }
    assert len(named) > 40
    assert {name for name in named if f"def {name}(" not in sources} == set()


def test_every_file_in_backticks_exists() -> None:
    """Paths from the root, such as `algorithms/rl/config.py`; the walks of CONTRIBUTING name files to be
    made.
    """
    tops = r"(?:algorithms|workflows|tests|benchmarks|docs)"
    for name, text in TEXTS.items():
        for path in re.findall(rf"`({tops}/[\w/.-]+\.(?:py|md|json|png|yaml))`", text):
            assert "toy" in path or (ROOT / path).exists(), (name, path)


def test_every_benchmark_in_a_command_has_its_flags() -> None:
    commands = re.findall(r"python benchmarks/(\w+)\.py([^`#\n]*)", "\n".join(TEXTS.values()))
    assert commands
    for name, arguments in commands:
        source = (ROOT / "benchmarks" / f"{name}.py").read_text()
        for flag in re.findall(r"--([a-z][a-z0-9-]+)", arguments):
            assert f"--{flag}" in source or f"{flag.replace('-', '_')}: " in source, (name, flag)


def test_the_commands_and_files_about_clusters_can_be_read() -> None:
    blocks = re.findall(r"```(bash|yaml)\n(.*?)```", TEXTS["cluster.md"], flags=re.DOTALL)
    for language, block in blocks:
        if language == "bash":
            checked = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True)
            assert (checked.returncode, checked.stderr) == (0, ""), block
        else:
            assert all(isinstance(part, dict) for part in yaml.safe_load_all(block))
    assert {language for language, _ in blocks} == {"bash", "yaml"}


# The table of RLlib's settings


def settings_table(column: int) -> dict[str, set[str] | None]:
    """Return setting -> the values in a column of the guide's table, as Python writes them; None for `any`
    and a dash.
    """
    rows = table_rows(section("guide.md", "RLlib's settings"))
    start = next(i for i, row in enumerate(rows) if row[:2] == ["setting", "values in DQN"])
    end = next(i for i, row in enumerate(rows) if row == ["setting", "reason"])
    return {
        row[0].strip("`"): set(re.findall(r"`([^`]*)`", row[column])) or None for row in rows[start + 1 : end]
    }


def settings_of(config: Any) -> dict[str, set[str]]:
    """Return setting -> its supported values, of those that the code restricts."""
    fixed = {name: (value,) for name, value in config.fixed_settings.items()}
    return {
        name: {repr(value) for value in values}
        for name, values in (config.supported_settings() | fixed).items()
    }


@pytest.mark.parametrize(("config_class", "column"), [(DQNConfig, 1), (REINFORCEConfig, 2)])
def test_the_guides_table_of_settings_is_that_of_the_code(config_class: Any, column: int) -> None:
    named = {name: values for name, values in settings_table(column).items() if values is not None}
    assert named == settings_of(config_class())


def test_the_guide_says_what_differs_in_evaluation() -> None:
    rows = {row[0]: row[3] for row in table_rows(section("guide.md", "RLlib's settings")) if len(row) == 4}
    for config_class in (DQNConfig, REINFORCEConfig):
        training, evaluation = config_class(), config_class()
        evaluation.in_evaluation = True
        before, after = settings_of(training), settings_of(evaluation)
        differing = {name for name in before if before[name] != after.get(name)}
        assert differing <= {"batch_mode", "explore", "rollout_fragment_length"}
    assert "evaluation" in rows["`batch_mode`"]
    assert "evaluation" in rows["`explore`"]


@pytest.mark.parametrize("config_class", [DQNConfig, REINFORCEConfig])
def test_what_validation_refuses_besides_is_in_the_guide(config_class: Any) -> None:
    refused = section("guide.md", "RLlib's settings").partition("These are refused in both:")[2]
    config_module = importlib.import_module("algorithms.rl.config")
    names = [name.lstrip("_") for name in (*config_module.CONNECTORS, *config_module.EPISODE_CALLBACKS)]
    for name in (*names, "multi_agent", "env_runner_cls", "model_config", "replay_buffer_config"):
        assert f"`{name}`" in refused, name
    config = config_class().environment("CartPole-v1").callbacks(on_episode_end=print)
    with pytest.raises(ValueError, match="on_episode_end"):
        config.validate()
