"""Options of both generative models."""

import re
from typing import Any

import pytest

from algorithms.cvae.options import CVAEOptions
from algorithms.gan.options import GANOptions


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latent_size": 0}, "latent_size must be a whole number of at least 1, got 0"),
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
        ({"latent_size": 0}, "latent_size must be a whole number of at least 1, got 0"),
        ({"depth": 0}, "depth must be at least 1, got 0"),
        ({"width": 0}, "width must be at least 1 (mlp), got 0"),
        ({"width": 15, "architecture": "conv"}, "width must be at least 16 (conv), got 15"),
        ({"architecture": "vit"}, "architecture must be one of mlp, conv, got 'vit'"),
        ({"prior": "vamp"}, "prior must be one of standard, learned, flow, got 'vamp'"),
        ({"binarisation": "static"}, "binarisation must be one of dynamic, none, got 'static'"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1, got 0"),
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
