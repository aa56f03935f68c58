"""Digits as pictures: a grid of them, two side by side, and a PNG file."""

from pathlib import Path

import numpy as np
from PIL import Image


def grid(images: np.ndarray, num_columns: int, border: int = 1) -> np.ndarray:
    """Lay uint8 images [N, H, W] out row by row; return uint8 [rows * (H + border) + border, columns * (W + border) + border]."""
    num, height, width = images.shape
    num_rows = -(-num // num_columns)
    cells = np.zeros((num_rows * num_columns, height + border, width + border), np.uint8)
    cells[:num, border:, border:] = images
    page = (
        cells.reshape(num_rows, num_columns, height + border, width + border)
        .swapaxes(1, 2)
        .reshape(num_rows * (height + border), -1)
    )
    return np.pad(page, ((0, border), (0, border)))


def beside(left: np.ndarray, right: np.ndarray, gap: int = 14) -> np.ndarray:
    """Lay two uint8 pictures [H, W] of one height side by side, `gap` pixels apart."""
    return np.hstack([left, np.zeros((len(left), gap), np.uint8), right])


def save_png(image: np.ndarray, path: Path, scale: int = 2) -> None:
    """Write uint8 [H, W] (ink 255, shown white on black) as a PNG, every pixel enlarged to scale x scale; whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    Image.fromarray(image.repeat(scale, axis=0).repeat(scale, axis=1)).save(temporary, format="PNG")
    temporary.replace(path)
