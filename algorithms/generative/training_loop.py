"""The loop around an update. Metrics stay on the device until they are read; a NaN ends training."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from algorithms.divergence import check_finite

LOOK_PERIOD = 25
"""Updates between looks at a GPU's metrics, because each look waits for the GPU."""


def run_updates(
    update: Callable[[], Tensor], num_updates: int, names: Sequence[str], first_update: int
) -> dict[str, float]:
    """Call `update` `num_updates` times; return the mean of each of the metrics [len(names)] that it returns.

    Raises TrainingDiverged if a metric is NaN or infinite: at once on a processor, within LOOK_PERIOD updates
    on a GPU. The error gives the number of the update, counted from `first_update`.
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
