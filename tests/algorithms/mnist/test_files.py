"""The raw files: how they are parsed, and what is refused by name."""

import math
import os
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mnist_files import NAMES, TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, idx, md5, write

from algorithms import mnist
from algorithms.mnist.files import parse_idx


def test_idx_by_hand() -> None:
    blob = bytes.fromhex("00000802 00000002 00000003 010203 0405ff")  # uint8, rank 2, 2 x 3
    np.testing.assert_array_equal(parse_idx(blob), np.array([[1, 2, 3], [4, 5, 255]], np.uint8))


@given(st.lists(st.integers(0, 4), max_size=4), st.randoms(use_true_random=False))
def test_idx_round_trip(shape: list[int], random: Random) -> None:
    array = np.frombuffer(random.randbytes(math.prod(shape)), np.uint8).reshape(shape)
    parsed = parse_idx(idx(array))
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
        parse_idx(bytes.fromhex(hexes))


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
        ValueError, match=f"data_dir {tmp_path}: neither it nor MNIST/raw below it has {', '.join(NAMES)}"
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
