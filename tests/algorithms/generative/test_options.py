"""Options, precision, the loop of updates, and pictures: what the trainers share."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from algorithms.divergence import TrainingDiverged, check_finite
from algorithms.generative.images import beside, grid, save_png
from algorithms.generative.precision import choose_precision
from algorithms.generative.training_loop import run_updates


def test_precision_asked_for_is_precision_used() -> None:
    cpu = torch.device("cpu")
    assert choose_precision("fp32", cpu) == "fp32"
    assert choose_precision("bf16", cpu) == "bf16"
    capabilities = torch.cpu.get_capabilities()
    native = capabilities.get("amx_bf16") or capabilities.get("avx512_bf16")
    assert choose_precision("auto", cpu) == ("bf16" if native else "fp32")
    with pytest.raises(ValueError, match="must be one of auto, bf16, fp32, got 'int8'"):
        choose_precision("int8", cpu)


def test_divergence_names_the_loss_the_value_and_the_update() -> None:
    check_finite(torch.zeros(3, 2), ("a", "b"), first_update=10)
    with pytest.raises(TrainingDiverged, match=r"^b became nan at update 11$"):
        check_finite(
            torch.tensor([[0.0, 1.0], [2.0, float("nan")], [float("inf"), 0.0]]), ("a", "b"), first_update=10
        )


def test_the_loop_of_updates_returns_means_and_counts_from_where_it_began() -> None:
    rows = iter([torch.tensor([1.0, 4.0]), torch.tensor([3.0, 8.0]), torch.tensor([float("inf"), 0.0])])
    assert run_updates(lambda: next(rows), 2, ("a", "b"), first_update=1) == {"a": 2.0, "b": 6.0}
    with pytest.raises(TrainingDiverged, match=r"^a became inf at update 3$"):
        run_updates(lambda: next(rows), 1, ("a", "b"), first_update=3)


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
