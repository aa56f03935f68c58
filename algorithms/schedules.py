"""Hyperparameters that change during training, in RLlib's form.

A schedule is a number, or ((env_steps, value), …) with straight lines between these corners."""

import itertools
import math

Schedule = float | tuple[tuple[int, float], ...]


def value_at(schedule: Schedule, env_steps: float) -> float:
    """Return the value after `env_steps` environment steps; after the last corner it stays constant."""
    if not isinstance(schedule, tuple):
        return schedule
    earlier = [point for point in schedule if point[0] <= env_steps]
    later = [point for point in schedule if point[0] > env_steps]
    step, value = earlier[-1]
    if not later:
        return value
    next_step, next_value = later[0]
    return value + (next_value - value) * (env_steps - step) / (next_step - step)


def as_schedule(schedule: object) -> Schedule:
    """Return a schedule with RLlib's lists as tuples.

    Raises ValueError unless it is a number, or pairs of (env_steps, value) whose steps rise from 0.
    """
    if isinstance(schedule, int | float) and not isinstance(schedule, bool) and math.isfinite(schedule):
        return float(schedule)
    try:
        points = tuple((int(step), float(value)) for step, value in schedule)  # type: ignore[attr-defined]
    except (TypeError, ValueError, OverflowError):
        points = ()
    rising = all(one[0] < other[0] for one, other in itertools.pairwise(points))
    if not points or points[0][0] != 0 or not rising or not all(math.isfinite(value) for _, value in points):
        raise ValueError("must be a number or (env_steps, value) pairs whose steps rise from 0")
    return points


def values(schedule: Schedule) -> tuple[float, ...]:
    """Return the values at the corners; the schedule never leaves the range that they span."""
    return tuple(value for _, value in schedule) if isinstance(schedule, tuple) else (schedule,)
