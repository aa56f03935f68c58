"""The cache folder: filled once, whole or not at all."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from mnist_files import (
    NAMES,
    TEST_IMAGES,
    TEST_LABELS,
    TRAIN_IMAGES,
    TRAIN_LABELS,
    left,
    md5,
    serve,
    use_mirrors,
    write,
)

from algorithms import mnist
from algorithms.mnist.files import FILES


def test_cache_folder_follows_xdg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("XDG_CACHE_HOME", "/scratch")
    assert mnist.cache_dir() == Path("/scratch/ray-training-workflows/mnist")
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    assert mnist.cache_dir() == Path("/home/ada/.cache/ray-training-workflows/mnist")


def test_full_cache_asks_nobody(
    cache: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(cache, files)
    monkeypatch.setattr(
        "algorithms.mnist.download.mirrors", lambda: pytest.fail("the mirrors were asked for")
    )
    assert mnist.load("mnist").name == "mnist"
    assert mnist.fetch() is False
    assert left(cache) == set(NAMES)
    assert not (cache / ".lock").exists()


def test_corrupt_file_in_the_cache_is_refused_with_its_mending(cache: Path, files: dict[str, bytes]) -> None:
    write(cache, files | {TRAIN_LABELS: b""})
    for read in (mnist.load, mnist.fetch):
        with pytest.raises(
            ValueError,
            match=f"^{cache / TRAIN_LABELS}: size 0 bytes, expected 11; delete it and run `make data`$",
        ):
            read()


def test_load_fills_the_cache_from_a_mirror(
    cache: Path, packed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(packed) as mirror:
        use_mirrors(monkeypatch, [mirror.address], packed)
        assert mnist.load().train_labels.tolist() == [5, 0, 4]
    assert mnist.load().train_labels.tolist() == [5, 0, 4]  # the mirror is gone, the cache is not
    assert left(cache) == set(NAMES)


def test_only_what_is_missing_is_fetched(
    cache: Path, files: dict[str, bytes], packed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(cache, {name: files[name] for name in (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES)})
    write(cache / ".partial", {TEST_LABELS: b"what a killed process left"})
    with serve(packed) as mirror:
        use_mirrors(monkeypatch, [mirror.address], packed)
        assert mnist.fetch() is True
        assert mirror.requests == {f"/{TEST_LABELS}.gz": 1}
    assert left(cache) == set(NAMES)


def test_failed_write_leaves_nothing_behind(
    cache: Path, packed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, blob: bytes) -> int:
        path.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with serve(packed) as mirror:
        use_mirrors(monkeypatch, [mirror.address], packed)
        with pytest.raises(mnist.FetchError, match=f"{cache} cannot be written .*No space left on device"):
            mnist.fetch()
    assert left(cache) == set()


def test_concurrent_fetches_download_once(cache: Path, packed: dict[str, bytes]) -> None:
    child = """
import json, sys
from pathlib import Path
from algorithms import mnist
from algorithms.mnist import download, files
given = json.load(sys.stdin)
files.FILES.update({name: files.RawFile(*raw_file) for name, raw_file in given["files"].items()})
download.mirrors = lambda: ([given["address"]], given["md5s"])
print("ready", flush=True)
print(mnist.fetch(Path(given["folder"])))
"""
    with contextlib.ExitStack() as stack:
        mirror = stack.enter_context(serve(packed))
        mirror.gate.clear()
        given = {"files": FILES, "address": mirror.address, "folder": str(cache)}
        given["md5s"] = {path[1:]: md5(body) for path, body in packed.items()}
        children = []
        for _ in range(3):
            process = subprocess.Popen(
                [sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            children.append(stack.enter_context(process))
            stack.callback(process.kill)
            assert process.stdin is not None
            process.stdin.write(json.dumps(given))
            process.stdin.close()
        for process in children:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        mirror.gate.set()  # the first process holds the lock and waits for its first file
        outcomes = sorted(process.stdout.read().strip() for process in children if process.stdout is not None)
        assert [process.wait() for process in children] == [0, 0, 0]
        assert outcomes == ["False", "False", "True"]
        assert mirror.requests == {path: 1 for path in packed}
    assert left(cache) == set(NAMES)
