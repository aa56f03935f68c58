"""Quotas of whole episodes, fixed before the first step is taken.

Counting the first episodes to end would prefer short ones. So every environment plays its own share to the
end. While all shares together have too few steps, every share grows by one. That depends only on episodes
that count already. So, by Wald's equation, the expected sum over a batch is that of an episode times the
expected number of episodes.

    env 0   |--- e0 ---|-e1-|-e2-|..        share 2: e0 and e1 count, e2 is surplus
    env 1   |--------- e0 ---------|..      share 1: e0 counts
"""

from dataclasses import dataclass, replace

import numpy as np

from algorithms.rl.rollout_batch import STEPS, RolloutBatch


@dataclass(frozen=True)
class EpisodeRequest:
    """A request for whole episodes. They depend only on it and the weights, whichever runner plays them."""

    num_episodes: int
    """Least number of episodes; split over the environments beforehand."""
    num_env_steps: int
    """Least number of steps: the shares of all environments grow until there are as many."""
    spawn_key: tuple[int, ...]
    """Spawn key of its random numbers; no two requests have the same."""
    entropy: int | None = None
    """Entropy of its random numbers; None stands for the runner's own `seed`."""


def split_evenly(num: int, num_parts: int) -> list[int]:
    """Return `num` as a sum of parts that differ by one at most; the first parts are the larger ones."""
    return [num // num_parts + (part < num % num_parts) for part in range(num_parts)]


class EpisodeQuota:
    """Follows N environments until every one has played its share of whole episodes."""

    def __init__(self, num_envs: int, num_episodes: int, num_env_steps: int = 0) -> None:
        self.shares = np.array(split_evenly(num_episodes, num_envs))
        self._num_env_steps = num_env_steps
        self._num_ended = np.zeros(num_envs, np.int64)
        self._num_open = np.zeros(num_envs, np.int64)  # steps since the last end, a reset among them
        self._lengths = np.zeros((1, num_envs), np.int64)  # [episodes so far, N]

    def add(self, block: RolloutBatch) -> None:
        """Count the next block of steps."""
        ends = block.ends()
        numbers = self._num_ended + episode_numbers(block)
        missing = max(0, numbers.max() + 1 - len(self._lengths))
        self._lengths = np.pad(self._lengths, ((0, missing), (0, 0)))
        np.add.at(self._lengths, (numbers, np.arange(ends.shape[1])), block.played())
        self._num_open = np.where(ends.any(axis=0), ends[::-1].argmax(axis=0), self._num_open + len(ends))
        self._num_ended += ends.sum(axis=0)

    def longest_open(self) -> int:
        """Return the steps so far of the longest open episode that counts; 0 if there is none."""
        return int(self._num_open[self._num_ended < self.shares].max(initial=0))

    def num_counted(self) -> int:
        """Return how many episodes of the shares have ended."""
        return int(np.minimum(self._num_ended, self.shares).sum())

    def is_met(self) -> bool:
        """Return whether all shares are played; while they are, but have too few steps, they grow by one."""
        while (self._num_ended >= self.shares).all():
            counts = np.arange(len(self._lengths))[:, None] < self.shares
            if self._lengths[counts].sum() >= self._num_env_steps:
                return True
            self.shares += 1
        return False


def episode_numbers(batch: RolloutBatch) -> np.ndarray:
    """Return the number of each row's episode in its environment, from 0 on; int64 [T, N].

    The reset after an end belongs to the next episode.
    """
    ends = batch.ends().astype(np.int64)
    numbers: np.ndarray = ends.cumsum(axis=0) - ends
    return numbers


def keep_first_episodes(batch: RolloutBatch, shares: np.ndarray) -> RolloutBatch:
    """Return the batch with only the first `shares` [N] episodes valid, except those with a dropped step."""
    numbers = episode_numbers(batch)
    counts = numbers < shares
    broken = np.zeros((numbers.max(initial=0) + 1, len(shares)), bool)
    t, n = np.nonzero(batch.dropped)
    broken[numbers[t, n], n] = True
    num_rows = int(counts.any(axis=1).sum())  # the first episodes are in the first rows
    valid = batch.valid & counts & ~broken[numbers, np.arange(len(shares))]
    kept = replace(batch, valid=valid, dropped=batch.dropped & counts)
    rows = {name: getattr(kept, name)[:num_rows] for name in STEPS}
    return replace(kept, obs=batch.obs[: num_rows + 1], **rows)
