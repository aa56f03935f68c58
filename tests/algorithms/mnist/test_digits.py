"""The digits that are loaded, and the bundled ones where MNIST can't be had."""

from pathlib import Path

import numpy as np
import pytest
from mnist_files import NAMES, TRAIN_IMAGES, left, md5, serve, use_mirrors

from algorithms import mnist


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


def test_cache_that_cannot_be_written_means_the_bundled_digits(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "xdg").touch()  # a file where the folder would be
    with pytest.warns(UserWarning, match=f"{cache} cannot be written"):
        assert mnist.load("mnist").name == "mnist-10k"


def test_broken_torchvision_means_the_bundled_digits(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> tuple[list[str], dict[str, str]]:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr("algorithms.mnist.download.mirrors", broken)
    with pytest.warns(
        UserWarning, match="torchvision, which lists the mirrors: operator torchvision::nms does not exist"
    ):
        assert mnist.load("mnist").name == "mnist-10k"
