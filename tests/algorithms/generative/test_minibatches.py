import torch
from hypothesis import given
from hypothesis import strategies as st

from algorithms.generative.minibatches import Minibatches

CPU = torch.device("cpu")


@given(batch_size=st.integers(1, 40), more=st.integers(0, 40), seed=st.integers(0, 2**32 - 1))
def test_an_epoch_shows_no_item_twice(batch_size: int, more: int, seed: int) -> None:
    num_items = batch_size + more
    batches = Minibatches(num_items, batch_size, CPU, seed)
    for _ in range(3):
        epoch = torch.cat([batches.next() for _ in range(num_items // batch_size)])
        assert len(set(epoch.tolist())) == len(epoch) == num_items // batch_size * batch_size
        assert set(epoch.tolist()) <= set(range(num_items))


@given(before=st.integers(0, 12), after=st.integers(1, 12))
def test_a_restored_stream_goes_on_with_the_very_next_batch(before: int, after: int) -> None:
    original, restored = Minibatches(10, 3, CPU, seed=1), Minibatches(10, 3, CPU, seed=2)
    for _ in range(before):
        original.next()
    restored.load_state_dict(original.state_dict())
    for _ in range(after):
        assert torch.equal(original.next(), restored.next())


def test_epochs_differ_and_seeds_differ() -> None:
    batches = Minibatches(100, 100, CPU, seed=0)
    first = batches.next()
    assert not torch.equal(first, batches.next())
    assert not torch.equal(first, Minibatches(100, 100, CPU, seed=1).next())
    assert torch.equal(first, Minibatches(100, 100, CPU, seed=0).next())
