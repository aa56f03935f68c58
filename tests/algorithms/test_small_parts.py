"""Options, precision, divergence and pictures: what the trainers share."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from algorithms.divergence import TrainingDiverged, check_finite
from algorithms.gan.options import GANOptions
from algorithms.images import grid, save_png
from algorithms.precision import choose_precision


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latent_size": 0}, "latent_size must be at least 1, got 0"),
        ({"width": -3}, "width must be at least 1, got -3"),
        ({"batch_size": 1}, "batch_size must be at least 2"),
        ({"generator_lr": 0.0}, "generator_lr must be a positive number, got 0.0"),
        ({"discriminator_lr": float("nan")}, "discriminator_lr must be a positive number, got nan"),
        ({"beta1": 1.0}, "beta1 must be at least 0 and below 1, got 1.0"),
        ({"ema_decay": -0.1}, "ema_decay must be at least 0 and below 1, got -0.1"),
        ({"label_smoothing": 0.5}, "label_smoothing must be at least 0 and below 0.5, got 0.5"),
        ({"loss": "hinge"}, "loss must be one of non_saturating, got 'hinge'"),
        ({"precision": "fp8"}, "precision must be one of auto, bf16, fp32, got 'fp8'"),
    ],
)
def test_a_wrong_option_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        GANOptions(**change)


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
        check_finite(torch.tensor([[0.0, 1.0], [2.0, float("nan")], [float("inf"), 0.0]]), ("a", "b"), first_update=10)


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
