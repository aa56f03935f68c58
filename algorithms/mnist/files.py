"""The four raw files of MNIST: their names, sizes and MD5 sums; how they are found, verified and parsed."""

import hashlib
import math
import os
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


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


def missing(folder: Path) -> list[str]:
    """Return the names of the files that `folder` lacks."""
    return [name for name in FILES if not os.path.exists(folder / name)]


def find_folder(data_dir: Path) -> Path:
    """Return the folder with the four files: `data_dir`, or MNIST/raw below it, where torchvision puts them.

    Raises ValueError that names what is missing.
    """
    try:
        os.listdir(data_dir)
    except OSError as error:  # it does not exist, is not a folder, or can't be read
        raise ValueError(f"data_dir {data_dir}: {error.strerror}") from None
    folder = min((data_dir, data_dir / "MNIST" / "raw"), key=lambda folder: len(missing(folder)))
    names = ", ".join(missing(folder))
    if len(missing(folder)) == len(FILES):
        raise ValueError(f"data_dir {data_dir}: neither it nor MNIST/raw below it has {names} (uncompressed)")
    if names:
        raise ValueError(f"data_dir {folder}: {names} (uncompressed) missing")
    return folder


def read(folder: Path, repair: str = "") -> list[NDArray[np.uint8]]:
    """Read and verify the four files; return their arrays in the order of FILES.

    Raises ValueError that names the first wrong file. If its bytes are wrong, the message ends with `repair`.
    """
    arrays = []
    for name, raw_file in FILES.items():
        try:
            blob = (folder / name).read_bytes()
            verify(blob, raw_file.md5, raw_file.size_bytes)
            arrays.append(parse_idx(blob))
        except OSError as error:
            raise ValueError(f"{folder / name}: {error.strerror}") from None
        except ValueError as error:
            raise ValueError(f"{folder / name}: {error}{repair}") from None
    return arrays


def verify(blob: bytes, md5: str, size_bytes: int | None = None) -> None:
    """Raise ValueError unless the bytes have this MD5 sum and, if it is given, this size."""
    if size_bytes is not None and len(blob) != size_bytes:
        raise ValueError(f"size {len(blob)} bytes, expected {size_bytes}")
    found = hashlib.md5(blob, usedforsecurity=False).hexdigest()
    if found != md5:
        raise ValueError(f"md5 {found} of {len(blob)} bytes, expected {md5}")


def parse_idx(blob: bytes) -> NDArray[np.uint8]:
    """Return the array of an IDX file of bytes, read-only and without a copy.

    The format: 0, 0, 8 (uint8), rank, sizes (big-endian uint32), data.
    """
    if len(blob) < 4 or blob[:3] != b"\0\0\x08" or len(blob) < 4 + 4 * blob[3]:
        start = blob[:4].hex() or "nothing"
        raise ValueError(f"not an IDX file of uint8: {len(blob)} bytes that start with {start}")
    offset = 4 + 4 * blob[3]
    shape = struct.unpack(f">{blob[3]}I", blob[4:offset])
    expected = offset + math.prod(shape)
    if len(blob) != expected:
        raise ValueError(f"size {len(blob)} bytes, expected {expected} for an array of shape {shape}")
    return np.ndarray(shape, np.uint8, blob, offset)
