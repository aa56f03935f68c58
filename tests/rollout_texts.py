"""Rollouts as texts, so that a test can be read: what a batch looks like, and a strategy that draws some."""

import numpy as np
from hypothesis import strategies as st

from algorithms.rl.rollout_batch import Episodes, RolloutBatch

# One text per environment, one letter per step:
#     .  goes on       r  a reset, the step after an end (NEXT_STEP)  F  all environments failed: dropped
#     T  terminates    x  dropped: NaN or infinity                    f  they failed while this one was reset
#     L  time limit    X  dropped, and terminates
VALID, DROPPED, TERMINATED, TRUNCATED = ".TL", "xXF", "TX", "LFf"

Rollout = tuple[list[str], np.ndarray]
"""Texts by environment, and rewards [T, N]."""


def batch_of(steps: list[str], rewards: np.ndarray | list[list[float]], first_row: int = 0) -> RolloutBatch:
    """Return the batch that the texts describe.

    With row r = first_row + t, environment n shows (r, n) at step t and takes action 10 r + n.
    """
    letters = np.array([list(text) for text in steps]).T
    row, env = np.mgrid[first_row : first_row + len(letters) + 1, : len(steps)]
    is_in = {name: np.isin(letters, list(kinds)) for name, kinds in (("valid", VALID), ("dropped", DROPPED))}
    ended = {"terminated": np.isin(letters, list(TERMINATED)), "truncated": np.isin(letters, list(TRUNCATED))}
    obs, actions = np.stack([row, env], axis=2).astype(np.float32), (10 * row + env)[:-1]
    return RolloutBatch(
        obs=obs,
        actions=actions,
        rewards=np.array(rewards, np.float32),
        weights_version=first_row,
        **is_in,
        **ended,
    )


def told(episodes: Episodes) -> tuple[list[float], list[int], int]:
    """Return the episodes as plain Python."""
    assert episodes.returns.dtype == np.float64
    assert episodes.lengths.dtype == np.int64
    return episodes.returns.tolist(), episodes.lengths.tolist(), episodes.num_lost


@st.composite
def consecutive_rollouts(draw: st.DrawFn) -> list[Rollout]:
    """Draw up to four consecutive rollouts of up to four environments, with whole rewards.

    A reset follows every end, also across the border of two rollouts.
    """
    num_envs = draw(st.integers(1, 4))
    resetting = [False] * num_envs
    rollouts = []
    for num_steps in draw(st.lists(st.integers(1, 8), min_size=1, max_size=4)):
        texts = [""] * num_envs
        for _ in range(num_steps):
            fails = draw(st.integers(0, 9)) == 9
            for n in range(num_envs):
                if fails:
                    letter = "f" if resetting[n] else "F"
                else:
                    letter = "r" if resetting[n] else draw(st.sampled_from("....TTLxX"))
                texts[n] += letter
                resetting[n] = letter in "TLX"  # after a failure the environments are new ones
        rewards = draw(
            st.lists(
                st.lists(st.integers(-9, 9), min_size=num_envs, max_size=num_envs),
                min_size=num_steps,
                max_size=num_steps,
            )
        )
        rollouts.append((texts, np.array(rewards, np.float32)))
    return rollouts


def all_batches(rollouts: list[Rollout]) -> list[RolloutBatch]:
    """Return their batches with consecutive rows; the rewards of dropped rows are NaN."""
    blocks: list[RolloutBatch] = []
    for steps, rewards in rollouts:
        block = batch_of(steps, rewards, first_row=sum(len(block.rewards) for block in blocks))
        block.rewards[block.dropped] = np.nan
        blocks.append(block)
    return blocks
