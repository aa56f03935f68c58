"""Digits as pictures: a grid of them, two side by side, and a PNG file."""

from pathlib import Path

import numpy as np
from PIL import Image


def grid(images: np.ndarray, num_columns: int, border: int = 1) -> np.ndarray:
    """Lay uint8 images [N, H, W] out row by row, with a black border around each; return a uint8 picture."""
    num, height, width = images.shape
    num_rows = -(-num // num_columns)
    cells = np.zeros((num_rows * num_columns, height + border, width + border), np.uint8)
    cells[:num, border:, border:] = images
    rows = cells.reshape(num_rows, num_columns, height + border, width + border).swapaxes(1, 2)
    return np.pad(rows.reshape(num_rows * (height + border), -1), ((0, border), (0, border)))


def beside(left: np.ndarray, right: np.ndarray, gap: int = 14) -> np.ndarray:
    """Lay two uint8 pictures [H, W] of the same height side by side, `gap` pixels apart."""
    return np.hstack([left, np.zeros((len(left), gap), np.uint8), right])


def save_png(image: np.ndarray, path: Path, scale: int = 2) -> None:
    """Write uint8 [H, W] as a PNG, white ink (255) on black, each pixel enlarged to scale x scale.

    The file is written whole or not at all.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    Image.fromarray(image.repeat(scale, axis=0).repeat(scale, axis=1)).save(temporary, format="PNG")
    temporary.replace(path)
