"""State files of Tune that another version of this project wrote."""

import json
import pickle
from pathlib import Path

import pytest

from workflows.cli.flags import UsageError
from workflows.experiment import saved_state


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder whose state files can be read, with copies of them."""
    versions = {"ray-training-workflows": "0.3.0"}
    (tmp_path / "run.json").write_text(json.dumps({"program": "tune_gan", "versions": versions}))
    (tmp_path / "experiment_state-2026.json").write_text('{"trial_data": []}')
    (tmp_path / "basic-variant-state-2026.json").write_bytes(pickle.dumps({}))
    (tmp_path / "tuner.pkl").write_bytes(pickle.dumps({}))
    assert saved_state.keep(tmp_path)
    return tmp_path


def contents(run: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


@pytest.mark.parametrize("gone", ["workflows.common.console\nLiveTable", "collections\nNoSuchClass"])
def test_a_pickle_of_code_that_is_gone_is_refused_with_its_version_and_left_alone(
    run: Path, gone: str
) -> None:
    """`cMODULE\\nNAME\\n.` is a pickle of a module's attribute."""
    (run / "tuner.pkl").write_bytes(f"c{gone}\n.".encode())
    before = contents(run)
    for refuses in (saved_state.require_recoverable, saved_state.recover):
        with pytest.raises(UsageError) as refused:
            refuses(run)
        text = str(refused.value)
        assert text.startswith(f"--resume {str(run)!r} can't be resumed: version 0.3.0 began it, ")
        assert "tuner.pkl needs code that is gone" in text
        assert "\n" not in text
    assert contents(run) == before


def test_a_broken_file_is_replaced_by_its_copy_and_a_whole_one_left_alone(run: Path) -> None:
    assert saved_state.recover(run) == ""
    (run / "tuner.pkl").write_bytes(b"")
    assert saved_state.recover(run).startswith("tuner.pkl is broken (EOFError); going on from the copies in ")
    assert (run / "tuner.pkl").read_bytes() == pickle.dumps({})
    assert (run / "tuner.pkl.broken").exists()
