"""The noise and the labels of samples: draws, grids, and walks from one draw of noise to another."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from algorithms.cvae import sampling as cvae
from algorithms.gan import sampling as gan
from algorithms.generative.sampling import spherical, spherical_of_uniform


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def vectors(bound: float) -> st.SearchStrategy[tuple[list[float], list[float]]]:
    """Two vectors of one size, many of them with zeros in them, or with equal numbers."""
    number = st.floats(-bound, bound, width=32) | st.sampled_from([0.0, 0.5, -0.5])
    return st.integers(1, 5).flatmap(
        lambda size: st.tuples(*(st.lists(number, min_size=size, max_size=size) for _ in range(2)))
    )


# From one vector to another


def test_uniform_noise_walks_over_its_quantiles_by_hand() -> None:
    """Quantiles 1 and 2, a quarter turn apart: halfway both coordinates are 1.5 * cos(45 degrees)."""
    one, two = (math.erf(deviations / math.sqrt(2)) for deviations in (1.0, 2.0))
    (walk_SZ,) = spherical_of_uniform(torch.tensor([[one, 0.0]]), torch.tensor([[0.0, two]]), 3)
    halfway = math.erf(1.5 * math.sqrt(0.5) / math.sqrt(2))
    torch.testing.assert_close(walk_SZ, torch.tensor([[one, 0.0], [halfway, halfway], [0.0, two]]))


@given(vectors(1.0), st.integers(2, 12))
def test_uniform_noise_ends_where_it_is_told_to_and_stays_in_its_cube(
    pair: tuple[list[float], list[float]], num_steps: int
) -> None:
    start_Z, end_Z = torch.tensor(pair)
    (walk_SZ,) = spherical_of_uniform(start_Z[None], end_Z[None], num_steps)
    assert torch.equal(walk_SZ[0], start_Z)
    assert torch.equal(walk_SZ[-1], end_Z)
    assert (walk_SZ.abs() <= 1).all()


def test_uniform_noise_is_as_wide_halfway_as_a_draw_where_a_straight_line_is_narrower() -> None:
    start_RZ, end_RZ = (gan.noise(4000, 64, seeded(seed)) for seed in (1, 2))
    halfway_RZ = spherical_of_uniform(start_RZ, end_RZ, 3)[:, 1]
    assert float(halfway_RZ.var()) == pytest.approx(1 / 3, rel=0.02)
    assert float(torch.lerp(start_RZ, end_RZ, 0.5).var()) == pytest.approx(1 / 6, rel=0.02)


def test_spherical_by_hand() -> None:
    """A quarter turn in steps of 30 degrees, norm from 3 to 6; and half a quarter turn with norm 2."""
    start_RZ, end_RZ = (
        torch.tensor([[3.0, 0.0], [0.0, 2.0]]),
        torch.tensor([[0.0, 6.0], [-math.sqrt(2), math.sqrt(2)]]),
    )
    half, root = 1 / 2, math.sqrt(3) / 2
    first_SZ = torch.tensor([[3.0, 0.0], [4 * root, 4 * half], [5 * half, 5 * root], [0.0, 6.0]])
    second_SZ = torch.tensor(
        [
            [-2 * math.sin(angle), 2 * math.cos(angle)]
            for angle in (0.0, math.pi / 12, math.pi / 6, math.pi / 4)
        ]
    )
    torch.testing.assert_close(spherical(start_RZ, end_RZ, 4), torch.stack([first_SZ, second_SZ]))


@pytest.mark.parametrize(
    ("start", "end", "middle"),
    [
        ([1.0, 2.0], [1.0, 2.0], [1.0, 2.0]),
        ([1.0, 2.0], [3.0, 6.0], [2.0, 4.0]),
        ([0.3, 0.1, 0.7], [0.9, 0.3, 2.1], [0.6, 0.2, 1.4]),  # parallel but for rounding
        ([1.0, 2.0], [-1.0, -2.0], [0.0, 0.0]),
        ([1.0, 2.0], [-3.0, -6.0], [-1.0, -2.0]),
        ([1.0], [-3.0], [-1.0]),  # of one unit there is no way around
        ([0.0, 0.0], [0.0, 0.0], [0.0, 0.0]),
    ],
    ids=str,
)
def test_spherical_is_straight_where_both_are_on_one_line(
    start: list[float], end: list[float], middle: list[float]
) -> None:
    (walk_SZ,) = spherical(torch.tensor([start]), torch.tensor([end]), 3)
    torch.testing.assert_close(walk_SZ, torch.tensor([start, middle, end]))


@given(vectors(10.0), st.integers(2, 12))
def test_spherical_turns_evenly_between_its_ends(
    pair: tuple[list[float], list[float]], num_steps: int
) -> None:
    start_Z, end_Z = torch.tensor(pair)
    (walk_SZ,) = spherical(start_Z[None], end_Z[None], num_steps)
    assert torch.equal(walk_SZ[0], start_Z)
    assert torch.equal(walk_SZ[-1], end_Z)
    assert walk_SZ.isfinite().all()
    norm_S = walk_SZ.double().norm(dim=1)
    assert norm_S.max() <= max(norm_S[0], norm_S[-1]) * (1 + 1e-6)
    if min(norm_S[0], norm_S[-1]) < 1e-3:
        return
    unit_SZ = walk_SZ.double() / norm_S[:, None]
    whole = angle(unit_SZ[0], unit_SZ[-1])
    if whole < math.pi - 1e-3:  # the straight way past the origin, between opposite ends, has other norms
        np.testing.assert_allclose(
            norm_S, np.linspace(float(norm_S[0]), float(norm_S[-1]), num_steps), rtol=1e-5
        )
        turns = [angle(unit_SZ[i], unit_SZ[i + 1]) for i in range(num_steps - 1)]
        np.testing.assert_allclose(turns, whole / (num_steps - 1), atol=1e-5)


def angle(first_Z: Tensor, second_Z: Tensor) -> float:
    """Return the angle between two unit vectors, exact for small ones and for large ones (Kahan)."""
    return 2 * math.atan2(float((first_Z - second_Z).norm()), float((first_Z + second_Z).norm()))


def white(start_Z: Tensor, end_Z: Tensor, share: float) -> Tensor:
    """White 2016's formula as it is printed."""
    turn = torch.acos(torch.dot(start_Z, end_Z) / start_Z.norm() / end_Z.norm())
    return (torch.sin((1 - share) * turn) * start_Z + torch.sin(share * turn) * end_Z) / torch.sin(turn)


def test_spherical_is_whites_formula_for_equal_norms_whose_norms_leave_the_range_of_others() -> None:
    start_Z, end_Z = torch.nn.functional.normalize(torch.randn(2, 20, generator=seeded()), dim=1)
    (walk_SZ,) = spherical(5 * start_Z[None], 5 * end_Z[None], 5)
    for share, step_Z in zip((0, 0.25, 0.5, 0.75, 1), walk_SZ, strict=True):
        torch.testing.assert_close(step_Z, white(5 * start_Z, 5 * end_Z, share))
    wide_Z = 2 * torch.tensor([math.cos(2.5), math.sin(2.5)])
    assert white(torch.tensor([1.0, 0.0]), wide_Z, 0.1).norm() < 0.9
    assert white(torch.tensor([1.0, 0.0]), wide_Z, 0.9).norm() > 2.05


def test_halfway_is_as_long_as_a_draw_where_a_straight_line_is_shorter() -> None:
    """The squared norm of N(0, I) is Z on the average; of the mean of two draws, Z / 2."""
    start_RZ, end_RZ = torch.randn(2, 1000, 50, generator=seeded())
    halfway_RZ = spherical(start_RZ, end_RZ, 3)[:, 1]
    assert float(halfway_RZ.square().sum(dim=1).mean()) == pytest.approx(50, rel=0.02)
    assert float(((start_RZ + end_RZ) / 2).square().sum(dim=1).mean()) == pytest.approx(25, rel=0.02)


# Which noise, and which labels


def test_draws_are_one_each_and_labels_in_turn() -> None:
    noise_BZ, label_B = cvae.plan("draws", 13, 4, seeded())
    assert label_B.tolist() == [*range(10), 0, 1, 2]
    torch.testing.assert_close(noise_BZ, torch.randn(13, 4, generator=seeded()))
    torch.testing.assert_close(gan.plan("draws", 13, 4, seeded()), gan.noise(13, 4, seeded()))


@given(st.integers(1, 7))
def test_a_grid_has_a_row_a_digit_and_the_same_noise_down_a_column(num_columns: int) -> None:
    noise_BZ, label_B = cvae.plan("grid", 10 * num_columns, 4, seeded())
    assert label_B.tolist() == [digit for digit in range(10) for _ in range(num_columns)]
    noise_RCZ = noise_BZ.view(10, num_columns, 4)
    assert (noise_RCZ == noise_RCZ[0]).all()
    assert len(noise_RCZ[0].unique(dim=0)) == num_columns


@given(st.integers(1, 23))
def test_an_interpolation_is_a_row_a_pair_of_draws(num_rows: int) -> None:
    noise_BZ, label_B = cvae.plan("interpolation", 10 * num_rows, 4, seeded())
    assert label_B.tolist() == [row % 10 for row in range(num_rows) for _ in range(10)]
    walks = {
        "cvae": (noise_BZ, spherical),
        "gan": (gan.plan("interpolation", 10 * num_rows, 4, seeded()), spherical_of_uniform),
    }
    for walk_BZ, between in walks.values():
        walk_RSZ = walk_BZ.view(num_rows, 10, 4)
        torch.testing.assert_close(walk_RSZ, between(walk_RSZ[:, 0], walk_RSZ[:, -1], 10))
        assert len(torch.cat([walk_RSZ[:, 0], walk_RSZ[:, -1]]).unique(dim=0)) == 2 * num_rows, (
            "two rows share a draw"
        )


def test_the_ends_of_an_interpolation_are_distributed_as_draws_are() -> None:
    normal_BZ, uniform_BZ = (
        cvae.plan("interpolation", 10_000, 8, seeded())[0],
        gan.plan("interpolation", 10_000, 8, seeded()),
    )
    normal, uniform = (walk_BZ.view(1000, 10, 8)[:, [0, -1]] for walk_BZ in (normal_BZ, uniform_BZ))
    assert uniform.abs().max() <= 1
    assert float(uniform.var()) == pytest.approx(1 / 3, rel=0.03)
    assert float(normal.var()) == pytest.approx(1, rel=0.03)


def test_wrong_plans_are_refused() -> None:
    for layout, num in (("circle", 100), ("grid", 23), ("interpolation", 23)):
        with pytest.raises(
            ValueError,
            match=f"with a multiple of 10 digits grid or interpolation, got '{layout}' with {num}",
        ):
            cvae.plan(layout, num, 4, seeded())
    for layout, num in (("circle", 100), ("grid", 100), ("interpolation", 23)):
        with pytest.raises(
            ValueError,
            match=f"draws, or with a multiple of 10 digits interpolation, got '{layout}' with {num}",
        ):
            gan.plan(layout, num, 4, seeded())
