import pytest
import torch

from algorithms.divergence import TrainingDiverged
from algorithms.generative.training_loop import run_updates


def test_the_loop_of_updates_returns_means_and_counts_from_where_it_began() -> None:
    rows = iter([torch.tensor([1.0, 4.0]), torch.tensor([3.0, 8.0]), torch.tensor([float("inf"), 0.0])])
    assert run_updates(lambda: next(rows), 2, ("a", "b"), first_update=1) == {"a": 2.0, "b": 6.0}
    with pytest.raises(TrainingDiverged, match=r"^a became inf at update 3$"):
        run_updates(lambda: next(rows), 1, ("a", "b"), first_update=3)
