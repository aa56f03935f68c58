from pathlib import Path

import numpy as np
from PIL import Image

from algorithms.generative.images import beside, grid, save_png


def test_two_pictures_lie_side_by_side() -> None:
    assert beside(np.full((1, 2), 7, np.uint8), np.full((1, 1), 9, np.uint8), gap=3).tolist() == [
        [7, 7, 0, 0, 0, 9]
    ]


def test_a_grid_lays_pictures_out_row_by_row(tmp_path: Path) -> None:
    images = np.arange(1, 4, dtype=np.uint8)[:, None, None].repeat(2, axis=1).repeat(2, axis=2)
    page = grid(images, num_columns=2)
    assert page.tolist() == [
        [0, 0, 0, 0, 0, 0, 0],
        [0, 1, 1, 0, 2, 2, 0],
        [0, 1, 1, 0, 2, 2, 0],
        [0, 0, 0, 0, 0, 0, 0],
        [0, 3, 3, 0, 0, 0, 0],
        [0, 3, 3, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0],
    ]
    save_png(page, tmp_path / "new" / "page.png", scale=3)
    with Image.open(tmp_path / "new" / "page.png") as picture:
        assert np.array_equal(np.asarray(picture)[::3, ::3], page)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["page.png"]
