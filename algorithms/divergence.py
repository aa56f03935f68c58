"""The end of a training whose loss is NaN or infinite."""

from collections.abc import Sequence

import torch
from torch import Tensor


class TrainingDiverged(FloatingPointError):
    """A loss became NaN or infinite."""


def check_finite(values_NM: Tensor, names: Sequence[str], first_update: int) -> None:
    """Raise TrainingDiverged if a value is NaN or infinite: N updates from `first_update` on, M metrics."""
    if torch.isfinite(values_NM).all():
        return
    row, column = (~torch.isfinite(values_NM)).nonzero()[0].tolist()
    raise TrainingDiverged(
        f"{names[column]} became {values_NM[row, column].item()} at update {first_update + row}"
    )
