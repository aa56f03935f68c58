"""What crosses a process border: arrays of T steps of N environments, and the episodes that ended in them.

row        0      1      2      3      4                the environments reset themselves on the step AFTER an end (Gymnasium's
obs        o0     o1     o2*    o0'    o1'   ...        NEXT_STEP): that step ignores its action, has reward 0, and leads from
terminated        x                                     one episode's last observation to the next one's first. Such a row is
valid      x      x             x      x                not `valid` and never reaches a loss. Row t leads to obs[t + 1]."""

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Episodes:
    """Episodes that ended, in the order in which they did."""

    returns: np.ndarray = field(default_factory=lambda: np.empty(0))
    """float64 [E], undiscounted."""
    lengths: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    """int64 [E], in steps."""
    num_lost: int = 0
    """Episodes in which a step was dropped: they are in neither array."""


@dataclass
class Columns:
    """T steps of N environments: contiguous arrays, of the environment's own dtypes, with float32 for its floats."""

    obs: np.ndarray
    """[T + 1, N, ...]; the last is what the environments show now."""
    actions: np.ndarray
    """[T, N, ...]"""
    rewards: np.ndarray
    """float32 [T, N]"""
    terminated: np.ndarray
    """bool [T, N]"""
    truncated: np.ndarray
    """bool [T, N]; also where a failing environment broke the episode off."""
    valid: np.ndarray
    """bool [T, N]: a step to learn from, neither a reset nor dropped."""
    dropped: np.ndarray
    """bool [T, N]: a step in which the environment failed, or gave a number that is none."""
    weights_version: int
    """Of the weights that chose the actions."""
    episodes: Episodes = field(default_factory=Episodes)

    def transitions(self) -> dict[str, np.ndarray]:
        """Return the valid rows, time-major, one after the other, under RLlib's names: obs, new_obs, actions, rewards, terminateds."""
        return {
            "obs": self.obs[:-1][self.valid],
            "new_obs": self.obs[1:][self.valid],
            "actions": self.actions[self.valid],
            "rewards": self.rewards[self.valid],
            "terminateds": self.terminated[self.valid],
        }

    def played(self) -> np.ndarray:
        """Return which rows are steps of an episode, dropped or not; bool [T, N]. The others only reset."""
        played: np.ndarray = self.valid | self.dropped
        return played

    def ends(self) -> np.ndarray:
        """Return which rows are the last step of an episode; bool [T, N]."""
        ends: np.ndarray = (self.terminated | self.truncated) & self.played()
        return ends

    def whole_episodes(self) -> dict[str, np.ndarray]:
        """Return the valid rows of columns that hold whole episodes only, one episode after the other; B steps, E episodes.

        obs [B, ...], actions [B, ...], rewards [B], ends: whether the step is its episode's last [B], truncated [E], last_obs [E, ...].
        """
        valid_NT, ends_NT = self.valid.T, self.ends().T & self.valid.T
        return {
            "obs": self.obs[:-1].swapaxes(0, 1)[valid_NT],
            "actions": self.actions.swapaxes(0, 1)[valid_NT],
            "rewards": self.rewards.T[valid_NT],
            "ends": ends_NT[valid_NT],
            "truncated": (self.truncated & ~self.terminated).T[ends_NT],
            "last_obs": self.obs[1:].swapaxes(0, 1)[ends_NT],
        }

    def env_steps(self) -> int:
        """Return how many steps count; RLlib asks an evaluation's samples for this."""
        return int(self.valid.sum())

    def agent_steps(self) -> int:
        """Return the same: there is one agent."""
        return self.env_steps()


def concatenate(blocks: list[Columns]) -> Columns:
    """Return consecutive columns of the same environments as one; its `episodes` are left to be counted."""

    def whole(name: str) -> np.ndarray:
        return np.concatenate([getattr(block, name) for block in blocks])

    return Columns(
        obs=np.concatenate([*(block.obs[:-1] for block in blocks), blocks[-1].obs[-1:]]),
        actions=whole("actions"),
        rewards=whole("rewards"),
        terminated=whole("terminated"),
        truncated=whole("truncated"),
        valid=whole("valid"),
        dropped=whole("dropped"),
        weights_version=blocks[-1].weights_version,
    )


def episode_numbers(columns: Columns) -> np.ndarray:
    """Return of every row the number of its episode in its environment, from 0 on; int64 [T, N]. The row after an end is the next one's."""
    ends = columns.ends().astype(np.int64)
    numbers: np.ndarray = ends.cumsum(axis=0) - ends
    return numbers


def keep_first_episodes(columns: Columns, quota: np.ndarray) -> Columns:
    """Return columns in which only the first `quota` [N] episodes of each environment count, and none in which a step was dropped."""
    numbers = episode_numbers(columns)
    counts = numbers < quota
    broken = np.zeros((numbers.max(initial=0) + 1, len(quota)), bool)
    t, n = np.nonzero(columns.dropped)
    broken[numbers[t, n], n] = True
    num_rows = int(counts.any(axis=1).sum())  # a prefix: an environment's first episodes are its first rows
    valid = columns.valid & counts & ~broken[numbers, np.arange(len(quota))]
    return Columns(
        obs=columns.obs[: num_rows + 1],
        actions=columns.actions[:num_rows],
        rewards=columns.rewards[:num_rows],
        terminated=columns.terminated[:num_rows],
        truncated=columns.truncated[:num_rows],
        valid=valid[:num_rows],
        dropped=(columns.dropped & counts)[:num_rows],
        weights_version=columns.weights_version,
    )


def finite(array: np.ndarray) -> np.ndarray:
    """Return which entries of [T, N, ...] have numbers only; [T, N]. Integers always have."""
    if array.dtype.kind != "f":
        return np.ones(array.shape[:2], bool)
    are_finite: np.ndarray = np.isfinite(array).reshape(*array.shape[:2], -1).all(axis=2)
    return are_finite


class EpisodeCounter:
    """Counts the episodes of N environments, those that go on from one rollout into the next too."""

    def __init__(self, num_envs: int) -> None:
        self._begun_3N = np.zeros((3, num_envs))

    def count(self, columns: Columns) -> Episodes:
        """Return the episodes that ended here. One is lost if a step of it was dropped.

        The running sums of rewards, steps and dropped steps of every environment: an episode has their differences.
        """
        if not len(columns.rewards):
            return Episodes()
        rewards = np.where(columns.valid, columns.rewards, 0.0)
        sums_3TN = (
            np.stack([rewards, columns.valid, columns.dropped]).cumsum(axis=1) + self._begun_3N[:, None]
        )
        n, t = np.nonzero((columns.terminated | columns.truncated).T)  # by environment, and by time in each
        at_end = sums_3TN[:, t, n]
        first = np.diff(n, prepend=-1) > 0
        at_begin = np.where(first, 0.0, np.roll(at_end, 1, axis=1))
        self._begun_3N = sums_3TN[:, -1].copy()
        last = np.roll(first, -1)
        self._begun_3N[:, n[last]] -= at_end[:, last]
        returns, lengths, num_dropped = (at_end - at_begin)[:, np.argsort(t, kind="stable")]
        whole = (num_dropped == 0) & (lengths > 0)
        return Episodes(returns[whole], lengths[whole].astype(np.int64), int((num_dropped > 0).sum()))

    def state(self) -> np.ndarray:
        """Return what it remembers of the episodes that go on."""
        return self._begun_3N.copy()

    def set_state(self, state: np.ndarray) -> None:
        """Remember what `state` returned."""
        self._begun_3N = state.copy()
