"""All machines of a cluster see a run's folder. On several hosts: tests/cluster/test_real_cluster.py."""

from pathlib import Path

import pytest

from workflows.cli.flags import UsageError
from workflows.experiment import ray_cluster as cluster
from workflows.runs import folder as run_folder


def test_a_new_folder_stays_where_all_is_well(tmp_path: Path) -> None:
    asked: list[Path] = []
    run_folder.make(tmp_path / "runs" / "one", asked.append)
    assert asked == [tmp_path / "runs" / "one"]
    assert (tmp_path / "runs" / "one").is_dir()


@pytest.mark.parametrize("error", [UsageError("not shared"), KeyboardInterrupt()])
def test_nothing_is_left_of_a_folder_that_is_refused(tmp_path: Path, error: BaseException) -> None:
    (tmp_path / "there").mkdir()

    def refuse(folder: Path) -> None:
        assert folder.is_dir()
        raise error

    with pytest.raises(type(error)):
        run_folder.make(tmp_path / "there" / "runs" / "one", refuse)
    assert list(tmp_path.iterdir()) == [tmp_path / "there"]
    assert list((tmp_path / "there").iterdir()) == []


def test_a_cluster_of_one_machine_shares_every_folder(ray_address: str, tmp_path: Path) -> None:
    cluster.require_shared(tmp_path)


def test_a_machine_that_does_not_see_the_folder_is_named(
    ray_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This machine, asked as if it were another."""
    import ray

    context = ray.get_runtime_context()
    monkeypatch.setattr(type(context), "get_node_id", lambda self: "another")
    cluster.require_shared(tmp_path)
    address = next(node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"])
    with pytest.raises(UsageError) as refused:
        cluster.require_shared(tmp_path / "runs" / "absent")
    rule = f"must be a folder that every machine of the cluster shares; {address} does not see it"
    assert str(refused.value) == f"--storage-path {str(tmp_path / 'runs')!r} {rule}"
