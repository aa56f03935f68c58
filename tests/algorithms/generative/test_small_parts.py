"""Options, precision, the loop of updates, and pictures: what the trainers share."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from algorithms.cvae.options import CVAEOptions
from algorithms.divergence import TrainingDiverged, check_finite
from algorithms.gan.options import GANOptions
from algorithms.generative.images import beside, grid, save_png
from algorithms.generative.precision import choose_precision
from algorithms.generative.training_loop import run_updates


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
def test_a_wrong_gan_option_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        GANOptions(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latent_size": 0}, "latent_size must be at least 1, got 0"),
        ({"depth": 0}, "depth must be at least 1, got 0"),
        ({"width": 0}, "width must be at least 1 (mlp), got 0"),
        ({"width": 15, "architecture": "conv"}, "width must be at least 16 (conv), got 15"),
        ({"architecture": "vit"}, "architecture must be one of mlp, conv, got 'vit'"),
        ({"prior": "vamp"}, "prior must be one of standard, learned, flow, got 'vamp'"),
        ({"binarisation": "static"}, "binarisation must be one of dynamic, none, got 'static'"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"num_train_digits": -1}, "num_train_digits must be at least 0, got -1"),
        ({"lr": 0.0}, "lr must be a positive number, got 0.0"),
        ({"beta": -0.5}, "beta must be at least 0 and finite, got -0.5"),
        ({"beta": float("nan")}, "beta must be at least 0 and finite, got nan"),
        ({"beta_warmup_updates": -1}, "beta_warmup_updates must be at least 0, got -1"),
        ({"num_importance_samples": 0}, "num_importance_samples must be at least 1, got 0"),
        ({"ema_decay": 1.0}, "ema_decay must be at least 0 and below 1, got 1.0"),
        ({"num_nll_samples": 0}, "num_nll_samples must be at least 1, got 0"),
        ({"num_importance_samples": 5, "beta": 2.0}, "num_importance_samples 5 excludes beta 2"),
        (
            {"num_importance_samples": 5, "beta_warmup_updates": 9},
            "num_importance_samples 5 excludes beta 1 and beta_warmup_updates 9",
        ),
    ],
)
def test_a_wrong_cvae_option_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        CVAEOptions(**change)


def test_a_cvaes_validation_split_is_the_last_twelfth() -> None:
    assert CVAEOptions().num_train(60_000) == 55_000
    assert CVAEOptions(num_train_digits=10_000).num_train(60_000) == 10_000
    with pytest.raises(ValueError, match=r"num_train_digits must be at most 55000 .*, got 55001"):
        CVAEOptions(num_train_digits=55_001).num_train(60_000)
    with pytest.raises(
        ValueError, match=r"batch_size must be at most the number of digits trained on \(9\), got 32"
    ):
        CVAEOptions(num_train_digits=9).num_train(60_000)


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
