"""The loop around an update: metrics that stay on the device until somebody looks, and an end as soon as one is no number any more."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from algorithms.divergence import check_finite

LOOK_PERIOD = 25
"""Updates between looks at a GPU's metrics: looking makes the device wait. On a processor every update is looked at."""


def run_updates(
    update: Callable[[], Tensor], num_updates: int, names: Sequence[str], first_update: int
) -> dict[str, float]:
    """Call `update` so many times; return the mean of each of the metrics [len(names)] that it returns.

    Raises TrainingDiverged, with the number of the update counted from `first_update`, for a metric that is NaN or infinite: at once on a
    processor, within LOOK_PERIOD updates on a GPU.
    """
    assert num_updates > 0
    rows: list[Tensor] = []
    looked = 0
    for _ in range(num_updates):
        rows.append(update())
        look_period = 1 if rows[-1].device.type == "cpu" else LOOK_PERIOD
        if len(rows) - looked >= look_period or len(rows) == num_updates:
            check_finite(torch.stack(rows[looked:]), names, first_update + looked)
            looked = len(rows)
    return dict(zip(names, torch.stack(rows).mean(dim=0).tolist(), strict=True))
