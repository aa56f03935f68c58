"""T steps of N environments as arrays, and the episodes that ended in them.

row        0      1      2      3      4
obs        o0     o1     o2*    o0'    o1'   ...      row t leads from obs[t] to obs[t + 1]
terminated        x
valid      x      x             x      x

Gymnasium's environments reset themselves on the step AFTER an end (NEXT_STEP). That step ignores its action,
has reward 0, and leads to the next episode. It is not `valid` and never reaches a loss."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np


@dataclass
class Episodes:
    """Episodes that ended, in the order of their ends."""

    returns: np.ndarray = field(default_factory=lambda: np.empty(0))
    """float64 [E], undiscounted."""
    lengths: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    """int64 [E], in steps."""
    num_lost: int = 0
    """Episodes with a dropped step. Neither array has them."""


@dataclass
class RolloutBatch:
    """T steps of N environments: contiguous arrays of the environment's dtypes, its floats as float32."""

    obs: np.ndarray
    """[T + 1, N, ...]; the last row is the current observation."""
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
    """bool [T, N]: the environment failed in this step, or it returned NaN or infinity."""
    weights_version: int = -1
    """Version of the weights that chose the actions."""
    episodes: Episodes = field(default_factory=Episodes)

    def transitions(self) -> dict[str, np.ndarray]:
        """Return the valid rows, time-major: obs, new_obs, actions, rewards, terminateds (RLlib's names)."""
        return {
            "obs": self.obs[:-1][self.valid],
            "new_obs": self.obs[1:][self.valid],
            "actions": self.actions[self.valid],
            "rewards": self.rewards[self.valid],
            "terminateds": self.terminated[self.valid],
        }

    def played(self) -> np.ndarray:
        """Return which rows are steps of an episode, dropped or not; bool [T, N]. The others are resets."""
        played: np.ndarray = self.valid | self.dropped
        return played

    def ends(self) -> np.ndarray:
        """Return which rows are the last step of an episode; bool [T, N]."""
        ends: np.ndarray = (self.terminated | self.truncated) & self.played()
        return ends

    def whole_episodes(self) -> dict[str, np.ndarray]:
        """Return the valid rows of a batch of whole episodes, episode by episode; B steps, E episodes.

        obs [B, ...], actions [B, ...], rewards [B], ends: whether the step is the last of its episode [B],
        truncated [E], last_obs [E, ...].
        """
        valid_NT = self.valid.T
        ends_NT = self.ends().T & valid_NT
        return {
            "obs": self.obs[:-1].swapaxes(0, 1)[valid_NT],
            "actions": self.actions.swapaxes(0, 1)[valid_NT],
            "rewards": self.rewards.T[valid_NT],
            "ends": ends_NT[valid_NT],
            "truncated": (self.truncated & ~self.terminated).T[ends_NT],
            "last_obs": self.obs[1:].swapaxes(0, 1)[ends_NT],
        }

    def env_steps(self) -> int:
        """Return the number of valid steps; RLlib calls this on the samples of an evaluation."""
        return int(self.valid.sum())

    def agent_steps(self) -> int:
        """Return the same number: there is one agent."""
        return self.env_steps()


STEPS = ("actions", "rewards", "terminated", "truncated", "valid", "dropped")
"""The arrays of a batch that have a row per step."""


@dataclass
class RolloutResult:
    """An env runner's answer to a request: a few numbers, and the batch or Ray's reference to it."""

    batch: Any
    """A RolloutBatch, or the `ray.ObjectRef` of one; None after an `error`."""
    num_env_steps: int = 0
    """Steps to learn from."""
    episodes: Episodes = field(default_factory=Episodes)
    weights_version: int = -1
    num_dropped: int = 0
    """Dropped steps, see `RolloutBatch.dropped`."""
    num_failures: int = 0
    """How often the environments were rebuilt."""
    busy_s: float = 0.0
    idle_s: float = 0.0
    """Seconds between the end of the previous rollout and this request."""
    error: str = ""
    """Why there is no batch: the environment keeps failing."""

    def set_batch(self, batch: RolloutBatch) -> None:
        """Answer with this batch, made with the weights of `weights_version`."""
        batch.weights_version = self.weights_version
        self.batch, self.episodes = batch, batch.episodes
        self.num_env_steps, self.num_dropped = batch.env_steps(), int(batch.dropped.sum())


def concatenate(blocks: list[RolloutBatch]) -> RolloutBatch:
    """Return consecutive batches of the same environments as one; its `episodes` are not counted yet."""
    obs = np.concatenate([*(block.obs[:-1] for block in blocks), blocks[-1].obs[-1:]])
    whole: Any = {name: np.concatenate([getattr(block, name) for block in blocks]) for name in STEPS}
    return replace(blocks[-1], obs=obs, episodes=Episodes(), **whole)


def finite(array: np.ndarray) -> np.ndarray:
    """Return which entries of [T, N, ...] are finite in all their numbers; [T, N]. Integers always are."""
    if array.dtype.kind != "f":
        return np.ones(array.shape[:2], bool)
    are_finite: np.ndarray = np.isfinite(array).reshape(*array.shape[:2], -1).all(axis=2)
    return are_finite


class EpisodeCounter:
    """Counts the episodes of N environments, also those that span several batches."""

    def __init__(self, num_envs: int) -> None:
        self._begun_3N = np.zeros((3, num_envs))

    def count(self, batch: RolloutBatch) -> Episodes:
        """Return the episodes that ended in this batch. An episode with a dropped step is lost.

        The sums of rewards, steps and dropped steps run on; between two ends they grow by an episode's.
        """
        if not len(batch.rewards):
            return Episodes()
        rewards = np.where(batch.valid, batch.rewards, 0.0)
        sums_3TN = np.stack([rewards, batch.valid, batch.dropped]).cumsum(axis=1) + self._begun_3N[:, None]
        n, t = np.nonzero((batch.terminated | batch.truncated).T)  # by environment, then by time
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
        """Return the sums of the episodes that have not ended."""
        return self._begun_3N.copy()

    def set_state(self, state: np.ndarray) -> None:
        """Restore what `state` returned."""
        self._begun_3N = state.copy()
