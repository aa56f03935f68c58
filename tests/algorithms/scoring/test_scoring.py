"""Scoring: sums by hand, invariants of a distance, scores of real digits that are spoilt step by step."""

import json
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from algorithms import mnist
from algorithms.mnist.files import FILES
from algorithms.scoring import Scorer, train_classifier
from algorithms.scoring.classifier import CHUNK, WEIGHTS, Classifier, embed, load, read_record
from algorithms.scoring.metrics import (
    class_balance,
    classifier_score,
    confidence,
    frechet_distance,
    mean_and_cov,
)

NAMES = ["fid_mnist", "classifier_score", "class_balance", "confidence"]
have_full_mnist = all((mnist.cache_dir() / name).is_file() for name in FILES)


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer()


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    """The 2,000 bundled test digits, which the classifier was not trained on, and their labels."""
    data = mnist.load("mnist-10k")
    return torch.tensor(data.test_images), torch.tensor(data.test_labels)


# Fréchet distance


def test_frechet_in_one_dimension_is_mean_gap_squared_plus_deviation_gap_squared() -> None:
    normal, wide = (torch.tensor([0.0]), torch.tensor([[1.0]])), (torch.tensor([3.0]), torch.tensor([[4.0]]))
    assert frechet_distance(*normal, *wide) == pytest.approx(10)  # (3 - 0)^2 + (2 - 1)^2


def test_frechet_of_diagonal_gaussians_adds_up_over_dimensions() -> None:
    a = torch.tensor([1.0, 2.0]), torch.diag(torch.tensor([4.0, 9.0]))
    b = torch.zeros(2), torch.eye(2)
    assert frechet_distance(*a, *b) == pytest.approx(10)  # 1 + 4, and (2 - 1)^2 + (3 - 1)^2


def test_frechet_of_two_lines_that_do_not_commute() -> None:
    """For cov_a = u u' and cov_b = v v', Tr (cov_a cov_b)^(1/2) is |u . v|."""
    u, v = torch.tensor([1.0, 0.0]), torch.tensor([3.0, 4.0])
    assert frechet_distance(
        torch.zeros(2), torch.outer(u, u), torch.zeros(2), torch.outer(v, v)
    ) == pytest.approx(20)  # 1 + 25 - 2 * 3


def test_frechet_to_a_point_is_the_total_variance_and_between_points_the_distance() -> None:
    zeros = torch.zeros(3, 3)
    assert frechet_distance(
        torch.zeros(3), zeros, torch.zeros(3), torch.diag(torch.tensor([1.0, 2.0, 3.0]))
    ) == pytest.approx(6)
    assert frechet_distance(torch.tensor([3.0, 0.0, 4.0]), zeros, torch.zeros(3), zeros) == pytest.approx(25)


def random_gaussian(generator: torch.Generator, rank: int) -> tuple[Tensor, Tensor]:
    """Return a mean [6] and a covariance [6, 6] of this rank."""
    root = torch.randn(6, rank, generator=generator, dtype=torch.float64)
    return torch.randn(6, generator=generator, dtype=torch.float64), root @ root.T


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**32), rank_a=st.integers(0, 6), rank_b=st.integers(0, 6))
def test_frechet_is_a_distance_and_does_not_see_rotations(seed: int, rank_a: int, rank_b: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    (mean_a, cov_a), (mean_b, cov_b) = random_gaussian(generator, rank_a), random_gaussian(generator, rank_b)
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64)).Q
    distance = frechet_distance(mean_a, cov_a, mean_b, cov_b)
    assert distance >= 0
    assert frechet_distance(mean_a, cov_a, mean_a, cov_a) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(mean_b, cov_b, mean_a, cov_a) == pytest.approx(distance, abs=1e-6)
    turned = [
        x
        for mean, cov in ((mean_a, cov_a), (mean_b, cov_b))
        for x in (rotation @ mean, rotation @ cov @ rotation.T)
    ]
    assert frechet_distance(*turned) == pytest.approx(distance, abs=1e-5)


def test_mean_and_covariance_by_hand() -> None:
    mean, cov = mean_and_cov(torch.tensor([[0.0, 1.0], [2.0, 5.0]]))
    assert mean.tolist() == [1, 3]
    assert cov.tolist() == [[2, 4], [4, 8]]  # deviations (-1, -2) and (1, 2), over N - 1 = 1
    assert cov.dtype == torch.float64


# Classifier score, class balance, confidence


def test_classifier_score_is_one_for_uniform_and_ten_for_sure_and_balanced() -> None:
    assert classifier_score(torch.full((7, 10), 0.1).log()) == pytest.approx(1)
    assert classifier_score(torch.eye(10).log()) == pytest.approx(
        10
    )  # log 0 is -inf: it must count as nothing, not as NaN
    assert classifier_score(torch.eye(10)[:2].repeat(50, 1).log()) == pytest.approx(2)  # two classes only
    assert classifier_score(torch.eye(10)[:1].repeat(50, 1).log()) == pytest.approx(1)  # one


def test_classifier_score_of_two_hesitant_images_by_hand() -> None:
    log_probs = torch.tensor([[0.9, 0.1], [0.1, 0.9]]).log()
    kl = 0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5)
    assert classifier_score(log_probs) == pytest.approx(math.exp(kl))


def test_class_balance_is_the_rarest_share_times_ten() -> None:
    assert class_balance(torch.arange(10).repeat(3)) == pytest.approx(1)
    assert class_balance(torch.arange(9).repeat(3)) == 0
    assert class_balance(torch.tensor([0, 0, 0, 1]), num_classes=2) == pytest.approx(
        0.5
    )  # a quarter, times two


def test_confidence_is_the_mean_of_the_largest_probability() -> None:
    assert confidence(torch.tensor([[0.7, 0.3], [0.1, 0.9]]).log()) == pytest.approx(0.8)


# The network


def test_folding_batch_norm_keeps_the_function() -> None:
    """In float64, where the two differ by nothing but rounding."""
    network = Classifier(batch_norm=True).double()
    images = torch.rand(64, 28, 28, dtype=torch.float64)
    for _ in range(3):
        network(images)  # moves the running statistics away from 0 and 1
    for before, after in zip(network.eval()(images), network.folded().double()(images), strict=True):
        torch.testing.assert_close(before, after, rtol=1e-9, atol=1e-9)


def test_scaling_features_leaves_the_classes_alone() -> None:
    network, images = Classifier(), torch.rand(8, 28, 28)
    features, logits = network(images)
    train_classifier.scale_features(network, 3.0)
    scaled, same = network(images)
    torch.testing.assert_close(scaled, 3 * features)
    torch.testing.assert_close(same, logits)


def test_embed_works_in_chunks_that_do_not_show() -> None:
    pinned, sizes = load(), []
    pinned.network.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    images = torch.randint(
        0, 256, (CHUNK + 7, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    features, log_probs = embed(pinned.network, images)
    assert sizes == [CHUNK, 7]
    torch.testing.assert_close(features[-7:], embed(pinned.network, images[-7:])[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(log_probs.exp().sum(dim=1), torch.ones(CHUNK + 7))


def test_augment_moves_digits_a_little_and_repeatably(digits: tuple[Tensor, Tensor]) -> None:
    ink = digits[0][:100] / 255
    once, again = (train_classifier.augment(ink, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(once, again)
    assert once.shape == ink.shape
    assert once.min() >= 0
    assert once.max() <= 1 + 1e-6
    assert not torch.equal(once, ink)
    assert once.mean().item() == pytest.approx(ink.mean().item(), rel=0.1)  # the ink stays on the page


def test_training_script_writes_a_file_that_loads_and_repeats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = mnist.load("mnist-10k")
    few = mnist.MNIST(
        "mnist",
        data.train_images[:1500],
        data.train_labels[:1500],
        data.test_images[:300],
        data.test_labels[:300],
    )
    monkeypatch.setattr(mnist, "load", lambda name, data_dir=None: few)
    monkeypatch.setattr(train_classifier, "NUM_HELD_OUT", 200)
    paths = [tmp_path / name for name in ("one.safetensors", "two.safetensors")]
    for path in paths:
        train_classifier.main(["--seed", "3", "--epochs", "2", "--output", str(path)])
    one, two = map(load, paths)
    assert one.record == two.record
    assert torch.equal(one.cov_FF, two.cov_FF)
    assert one.record["trained_on"] == 1300
    assert one.record["command"].endswith("--seed 3 --epochs 2")
    mean, cov = mean_and_cov(embed(one.network, torch.tensor(few.train_images))[0])
    torch.testing.assert_close((one.mean_F, one.cov_FF), (mean, cov))
    assert float(cov.trace()) == pytest.approx(100, rel=1e-4)


@pytest.mark.parametrize(
    "argv", [["--epochs", "0"], ["--output", "/no/such/folder/x"], ["--data-dir", "/no/such/folder"]]
)
def test_training_script_refuses_before_it_trains(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_info:
        train_classifier.main(argv)
    assert exit_info.value.code == 2
    assert argv[1] in capsys.readouterr().err


# The committed file


def test_committed_file_is_small_and_says_how_it_was_made() -> None:
    assert WEIGHTS.stat().st_size < 500_000
    pinned = load()
    assert pinned.mean_F.shape == (64,)
    assert pinned.cov_FF.shape == (64, 64)
    assert pinned.mean_F.dtype == pinned.cov_FF.dtype == torch.float64
    assert float(pinned.cov_FF.trace()) == pytest.approx(100, rel=1e-4)
    assert pinned.record["test_accuracy"] >= 0.993
    assert {"command", "seed", "epochs", "statistics", "held_out_accuracy", "torch"} <= pinned.record.keys()


def test_floor_is_stored_and_finite() -> None:
    floor = Scorer.floor()
    assert list(floor) == NAMES
    assert floor == read_record()["floor"] == json.loads(json.dumps(floor))
    assert 0 < floor["fid_mnist"] < 0.5
    assert 9.5 < floor["classifier_score"] <= 10


def test_most_digits_are_read_right(scorer: Scorer, digits: tuple[Tensor, Tensor]) -> None:
    images, labels = digits
    predicted = scorer.predict(images)
    assert predicted.dtype == torch.int64
    assert (predicted == labels).double().mean() >= 0.99


@pytest.mark.skipif(not have_full_mnist, reason="full MNIST is not in the cache (`make data`)")
def test_full_test_set_gives_the_recorded_accuracy_and_floor(scorer: Scorer) -> None:
    data = mnist.load("mnist")
    images, labels = torch.tensor(data.test_images), torch.tensor(data.test_labels)
    accuracy = (scorer.predict(images) == labels).double().mean()
    assert accuracy >= 0.993
    assert accuracy == pytest.approx(read_record()["test_accuracy"], abs=3e-4)
    assert scorer.score(images) == pytest.approx(Scorer.floor(), rel=1e-3)
    mean, cov = mean_and_cov(embed(load().network, torch.tensor(data.train_images))[0])
    torch.testing.assert_close((mean, cov), (load().mean_F, load().cov_FF), rtol=1e-3, atol=1e-3)


# What the scores do to real digits


def blurred(images: Tensor, sigma: float) -> Tensor:
    kernel = torch.exp(-(torch.arange(-6.0, 7.0) ** 2) / (2 * sigma**2))
    kernel_2d = torch.outer(kernel, kernel) / kernel.sum() ** 2
    return (
        functional.conv2d(images.float()[:, None], kernel_2d[None, None], padding=6)[:, 0]
        .round()
        .to(torch.uint8)
    )


def noisy(images: Tensor, sigma: float) -> Tensor:
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0)) * sigma
    return (images + noise).clamp(0, 255).to(torch.uint8)


def speckled(images: Tensor, share: float) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    hit = torch.rand(images.shape, generator=generator) < share
    return torch.where(hit, torch.randint(0, 2, images.shape, generator=generator) * 255, images).to(
        torch.uint8
    )


def collapsed(images: Tensor, one_in: float) -> Tensor:
    """Return as many images, all taken from the first 1 / one_in of them."""
    return images[: int(len(images) / one_in)].repeat(math.ceil(one_in), 1, 1)[: len(images)]


@pytest.mark.parametrize(
    ("spoil", "steps"),
    [
        (blurred, (0.5, 0.8, 1.2, 2)),
        (noisy, (15, 30, 60, 120)),
        (speckled, (0.01, 0.03, 0.1)),
        (collapsed, (4, 20, 100, 2000)),
    ],
)
def test_fid_grows_with_every_step_away_from_real(
    spoil: Callable[[Tensor, float], Tensor],
    steps: tuple[float, ...],
    scorer: Scorer,
    digits: tuple[Tensor, Tensor],
) -> None:
    images = digits[0]
    fids = [
        scorer.score(sample)["fid_mnist"] for sample in (images, *(spoil(images, step) for step in steps))
    ]
    assert fids[0] < 1  # the bundled test digits are the first 2,000, which other people wrote than the rest
    assert all(after > 1.2 * before for before, after in pairwise(fids)), fids


def test_every_dropped_class_costs_fid_and_score_and_zeroes_the_balance(
    scorer: Scorer, digits: tuple[Tensor, Tensor]
) -> None:
    images, labels = digits
    whole = scorer.score(images)
    assert whole["class_balance"] > 0.8
    for missing in range(10):
        part = scorer.score(images[(labels != missing) & (scorer.predict(images) != missing)])
        assert part["class_balance"] == 0
        assert part["fid_mnist"] > 5 * whole["fid_mnist"]
        assert part["classifier_score"] < whole["classifier_score"] - 0.5


def test_scores_repeat_and_do_not_depend_on_the_order(scorer: Scorer, digits: tuple[Tensor, Tensor]) -> None:
    images = digits[0][:700]
    first = scorer.score(images)
    assert list(first) == NAMES
    assert all(type(value) is float for value in first.values())
    assert first == scorer.score(images) == Scorer().score(images)
    shuffled = images[torch.randperm(700, generator=torch.Generator().manual_seed(0))]
    assert scorer.score(shuffled) == pytest.approx(first, rel=1e-4)


@pytest.mark.parametrize("num", [2, 3, 20, 200])
@pytest.mark.parametrize("kind", ["paper", "ink", "same digit", "noise", "real"])
def test_degenerate_samples_have_finite_scores(
    num: int, kind: str, scorer: Scorer, digits: tuple[Tensor, Tensor]
) -> None:
    images = {
        "paper": torch.zeros(num, 28, 28, dtype=torch.uint8),
        "ink": torch.full((num, 28, 28), 255, dtype=torch.uint8),
        "same digit": digits[0][:1].repeat(num, 1, 1),
        "noise": torch.randint(
            0, 256, (num, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
        ),
        "real": digits[0][:num],
    }[kind]
    scores = scorer.score(images)
    assert all(map(math.isfinite, scores.values())), scores
    assert scores["fid_mnist"] > 1
    assert 1 - 1e-9 <= scores["classifier_score"] <= 10
    assert 0 <= scores["class_balance"] <= 1
    assert 0.1 <= scores["confidence"] <= 1


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(1, 28, 28, dtype=torch.uint8), "at least 2, got 1"),
        (torch.zeros(0, 28, 28, dtype=torch.uint8), "at least 2, got 0"),
        (torch.zeros(4, 28, 28), r"got Tensor torch.float32 \[4, 28, 28\]"),
        (torch.zeros(4, 1, 28, 28, dtype=torch.uint8), r"got Tensor torch.uint8 \[4, 1, 28, 28\]"),
        (torch.zeros(4, 784, dtype=torch.uint8), r"got Tensor torch.uint8 \[4, 784\]"),
        (torch.zeros(4, 28, 28, dtype=torch.uint8).numpy(), "got ndarray uint8"),
    ],
)
def test_wrong_images_are_refused_in_one_line(images: Tensor, message: str, scorer: Scorer) -> None:
    with pytest.raises(ValueError, match=message) as error:
        scorer.score(images)
    assert "\n" not in str(error.value)


def test_predict_takes_a_single_image_but_not_none(scorer: Scorer, digits: tuple[Tensor, Tensor]) -> None:
    assert scorer.predict(digits[0][:1]).tolist() == digits[1][:1].tolist()
    with pytest.raises(ValueError, match="at least 1, got 0"):
        scorer.predict(digits[0][:0])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_gpu_and_cpu_agree(scorer: Scorer, digits: tuple[Tensor, Tensor]) -> None:
    assert Scorer("cuda").score(digits[0].cuda()) == pytest.approx(scorer.score(digits[0]), rel=1e-3)
