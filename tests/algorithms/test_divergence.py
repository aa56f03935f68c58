import pytest
import torch

from algorithms.divergence import TrainingDiverged, check_finite


def test_divergence_names_the_loss_the_value_and_the_update() -> None:
    check_finite(torch.zeros(3, 2), ("a", "b"), first_update=10)
    with pytest.raises(TrainingDiverged, match=r"^b became nan at update 11$"):
        check_finite(
            torch.tensor([[0.0, 1.0], [2.0, float("nan")], [float("inf"), 0.0]]), ("a", "b"), first_update=10
        )
