"""Replay: a ring that holds what a plain deque would, draws uniformly, and goes on where it was saved."""

from collections import deque

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from algorithms.dqn.replay import Batch, UniformReplay

SIZES = st.lists(st.integers(0, 25), max_size=8)
"""Of the adds: none, one, many, and more than the ring holds at once."""


def replay_of(capacity: int, seed: int = 0) -> UniformReplay:
    return UniformReplay(capacity, (2,), torch.float32, "cpu", seed)


def transitions(first: int, num: int) -> dict[str, np.ndarray]:
    """Return transitions that can be told apart: number i has i in every column."""
    number = np.arange(first, first + num)
    obs = np.stack([number, -number], axis=1).astype(np.float32)
    return {
        "obs": obs,
        "new_obs": obs + 0.5,
        "actions": number * 10,
        "rewards": number.astype(np.float32),
        "terminateds": number % 3 == 0,
    }


def add_all(replay: UniformReplay, sizes: list[int], first: int = 0) -> int:
    """Add transitions in blocks of these sizes, numbered on; return the next number."""
    for size in sizes:
        replay.add(transitions(first, size))
        first += size
    return first


def assert_same(batch: Batch, numbers: list[int]) -> None:
    """Compare a batch with the transitions of these numbers, every column."""
    expected = {name: np.concatenate([transitions(number, 1)[name] for number in numbers]) for name in batch}
    for name, column in batch.items():
        assert np.array_equal(column.numpy(), expected[name]), name


def test_a_ring_of_three_by_hand() -> None:
    """0 1 | 2 3 (0 gives way) | 4 5 6 7 (more than fit: the last three are kept)."""
    replay = replay_of(3)
    replay.add(transitions(0, 2))
    assert (replay.size, replay.state_dict()["rewards"].tolist()) == (2, [0, 1])
    replay.add(transitions(2, 2))
    assert (replay.size, replay.state_dict()["rewards"].tolist()) == (3, [1, 2, 3])
    replay.add(transitions(4, 4))
    assert (replay.size, replay.state_dict()["rewards"].tolist()) == (3, [5, 6, 7])


@given(capacity=st.integers(1, 12), sizes=SIZES)
def test_it_holds_what_a_deque_would(capacity: int, sizes: list[int]) -> None:
    replay, reference = replay_of(capacity), deque[int](maxlen=capacity)
    first = 0
    for size in sizes:
        first = add_all(replay, [size], first)
        reference.extend(range(first - size, first))
        assert replay.size == len(reference)
        held = replay.state_dict()
        for name, column in transitions(first - len(reference), len(reference)).items():
            assert np.array_equal(held[name], column), name
            assert held[name].dtype == column.dtype


@given(
    capacity=st.integers(1, 12),
    sizes=SIZES.filter(any),
    num_batches=st.integers(1, 4),
    batch_size=st.integers(1, 9),
)
def test_whatever_is_drawn_is_a_whole_transition_that_is_held(
    capacity: int, sizes: list[int], num_batches: int, batch_size: int
) -> None:
    replay = replay_of(capacity)
    added = add_all(replay, sizes)
    batches = replay.sample(num_batches, batch_size)
    assert len(batches) == num_batches
    for batch in batches:
        numbers = batch["rewards"].int().tolist()
        assert len(numbers) == batch_size
        assert all(max(0, added - capacity) <= number < added for number in numbers)
        assert_same(batch, numbers)


@pytest.mark.parametrize("sizes", [[6], [10], [7, 9], [3, 3, 3, 3, 3], [35]], ids=repr)
def test_every_transition_held_is_drawn_equally_often(sizes: list[int]) -> None:
    """Each of n gets 20,000 / n draws. Chi-square of at most 9 degrees exceeds 40 for one seed in 100,000."""
    replay = replay_of(10, seed=3)
    added = add_all(replay, sizes)
    drawn = torch.cat([batch["rewards"] for batch in replay.sample(100, 200)]).long()
    held = torch.arange(max(0, added - 10), added)
    counts = torch.bincount(drawn, minlength=added)
    assert counts[: held[0]].sum() == 0
    fair = len(drawn) / len(held)
    assert (counts[held] - fair).square().sum() / fair < 40


def test_draws_are_with_replacement_and_neighbours_are_independent() -> None:
    """Of two, a batch of eight must repeat some; and equals come after each other half of the time."""
    replay = replay_of(2)
    replay.add(transitions(0, 2))
    (batch,) = replay.sample(1, 8)
    assert len(batch["rewards"]) == 8
    many = torch.cat([batch["rewards"] for batch in replay.sample(500, 8)])
    same = (many[1:] == many[:-1]).float().mean().item()
    assert same == pytest.approx(0.5, abs=5 * 0.5 / len(many) ** 0.5)


def test_a_seed_gives_the_same_draws_and_another_seed_others() -> None:
    draws = []
    for seed in (1, 1, 2):
        replay = replay_of(100, seed)
        replay.add(transitions(0, 100))
        draws.append(torch.stack([batch["rewards"] for batch in replay.sample(3, 20)]))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0][0], draws[0][1])  # nor are two batches the same


def test_draws_leave_the_global_random_numbers_alone() -> None:
    replay = replay_of(10)
    replay.add(transitions(0, 10))
    state = torch.get_rng_state()
    replay.sample(2, 5)
    assert torch.equal(state, torch.get_rng_state())


def test_batches_do_not_share_memory_with_the_ring() -> None:
    """What was drawn stays what it was when newer transitions overwrite the ring."""
    replay = replay_of(4)
    replay.add(transitions(0, 4))
    (batch,) = replay.sample(1, 6)
    numbers = batch["rewards"].int().tolist()
    replay.add(transitions(100, 4))
    assert_same(batch, numbers)


@settings(deadline=None)
@given(capacity=st.integers(1, 12), before=SIZES.filter(any), after=SIZES, draws=st.integers(0, 3))
def test_a_restored_replay_goes_on_with_the_very_same_draws(
    capacity: int, before: list[int], after: list[int], draws: int
) -> None:
    original, restored = replay_of(capacity, seed=1), replay_of(capacity, seed=2)
    added = add_all(original, before)
    if draws:
        original.sample(draws, 5)
    restored.load_state_dict(original.state_dict())
    for blocks in ([], after):
        next_numbers = {add_all(replay, blocks, added) for replay in (original, restored)}
        added = next_numbers.pop()
        for one, other in zip(original.sample(2, 30), restored.sample(2, 30), strict=True):
            assert one.keys() == other.keys()
            assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_state_loads_into_a_replay_that_held_something_else_and_from_arrays_that_are_read_only() -> None:
    """What Ray hands over can't be written to; PyTorch warns of such arrays, and warnings are errors here."""
    original, restored = replay_of(5), replay_of(5)
    add_all(original, [3])
    add_all(restored, [4, 4], first=50)
    state = original.state_dict()
    for array in state.values():
        array.setflags(write=False)
    restored.load_state_dict(state)
    assert restored.size == 3
    assert restored.state_dict()["rewards"].tolist() == [0, 1, 2]


def test_a_state_is_a_copy() -> None:
    replay = replay_of(4)
    replay.add(transitions(0, 4))
    state = replay.state_dict()
    replay.add(transitions(4, 4))
    replay.sample(1, 1)
    assert state["rewards"].tolist() == [0, 1, 2, 3]
    assert not np.array_equal(state["generator"], replay.state_dict()["generator"])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32])
def test_observations_keep_their_dtype_and_shape(dtype: torch.dtype) -> None:
    """Bytes stay bytes: a quarter of the memory, and the network divides them by 255."""
    replay = UniformReplay(4, (2, 3), dtype, "cpu", seed=0)
    obs = np.arange(250, 256).reshape(1, 2, 3).astype(torch.empty(0, dtype=dtype).numpy().dtype)
    replay.add(transitions(0, 1) | {"obs": obs, "new_obs": obs - 250})
    (batch,) = replay.sample(1, 5)
    for name, value in (("obs", obs), ("new_obs", obs - 250)):
        assert batch[name].dtype == dtype
        assert batch[name].shape == (5, 2, 3)
        assert np.array_equal(batch[name][4].numpy(), value[0])
        assert replay.state_dict()[name].dtype == obs.dtype
    assert [batch[name].dtype for name in ("actions", "rewards", "terminateds")] == [
        torch.int64,
        torch.float32,
        torch.bool,
    ]
