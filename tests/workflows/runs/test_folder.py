"""Which runs can be resumed, by the version in their record."""

import json
from pathlib import Path

import pytest

from workflows import __version__
from workflows.cli.flags import UsageError
from workflows.runs import folder


def record(run_dir: Path, **values: object) -> str:
    """Write a run's record; return the run's folder."""
    (run_dir / "run.json").write_text(json.dumps({"program": "tune_gan", "flags": {"seed": 1}} | values))
    return str(run_dir)


@pytest.mark.parametrize("version", ["0.1.0", "0.1.9", "0.0", "unknown"])
def test_a_run_of_an_older_version_is_refused_in_one_line_with_both_versions(
    tmp_path: Path, version: str
) -> None:
    run_dir = record(tmp_path, versions={"ray-training-workflows": version})
    for read in (folder.saved_flags, folder.read_record):
        with pytest.raises(UsageError) as refused:
            read(run_dir)
        assert str(refused.value).startswith(f"--resume {run_dir!r} was written by version {version}, ")
        assert f"version {__version__} can't resume" in str(refused.value)
        assert "\n" not in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


@pytest.mark.parametrize(
    "versions", [{"ray-training-workflows": v} for v in ("0.2.0", "0.10.1", "1.0")] + [{}]
)
def test_a_run_of_a_compatible_or_unrecorded_version_is_accepted(
    tmp_path: Path, versions: dict[str, str]
) -> None:
    assert folder.saved_flags(record(tmp_path, versions=versions)) == {"seed": 1}
