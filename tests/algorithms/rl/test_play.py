"""Playing a policy: shares fixed beforehand, lost episodes counted, many episodes in bounded memory."""

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from algorithms.rl import play
from algorithms.rl.play import Player
from algorithms.rl.policy_files import DESCRIPTION_FILE, WEIGHTS_FILE, PolicyDescription
from algorithms.rl.stepper import EnvironmentFailed


class Counting(gym.Env[np.ndarray, np.int64]):
    """An episode of `length` steps earns 1 a step; with `nan_at` that step's reward is NaN."""

    observation_space = gym.spaces.Box(-1, 1, (1,))
    action_space = gym.spaces.Discrete(2)

    def __init__(self, config: dict[str, Any]) -> None:
        self.config, self.steps = config, 0

    def reset(self, **kwargs: Any) -> tuple[np.ndarray, dict[str, Any]]:
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        if self.config.get("fails"):
            raise OSError("gone")
        reward = np.nan if self.steps == self.config.get("nan_at") else 1.0
        return np.zeros(1, np.float32), reward, self.steps == self.config.get("length", 3), False, {}


def player(folder: Path, greedy: bool = False, policy: str = "values", **env_config: Any) -> Player:
    """Return a player of a policy whose actions are all equally good."""
    description = PolicyDescription(
        algorithm="any", policy=policy, env=f"{__name__}.Counting", env_config=env_config, obs_size=1,
        num_actions=2, action_size=None, fcnet_hiddens=(), fcnet_activation="relu",
        num_env_steps_sampled_lifetime=0,
    )  # fmt: skip
    network = description.network()
    with torch.no_grad():
        for weight in network.parameters():
            weight.zero_()
    save_file(network.state_dict(), folder / WEIGHTS_FILE)
    (folder / DESCRIPTION_FILE).write_text(description.to_json())
    return Player(folder, greedy)


def seeds(seed: int = 0) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed)


@pytest.mark.parametrize("num_episodes", [1, 16, 17, 50])
def test_as_many_episodes_are_played_as_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_episodes: int
) -> None:
    """However few fit into memory together."""
    monkeypatch.setattr(play, "EPISODES_AT_A_TIME", 20)
    one, heard = player(tmp_path), []
    episodes = one.play(one.make_creator(), num_episodes, seeds(), heard.append)
    assert episodes.returns.tolist() == [3.0] * num_episodes
    assert episodes.lengths.tolist() == [3] * num_episodes
    assert episodes.num_lost == 0
    assert heard[-1] == num_episodes
    assert heard == sorted(heard)


def test_an_episode_with_a_nan_is_lost_and_counted(tmp_path: Path) -> None:
    one = player(tmp_path, nan_at=2)
    episodes = one.play(one.make_creator(), 5, seeds())
    assert len(episodes.returns) == 0
    assert episodes.num_lost == 5


def test_an_environment_that_fails_ends_it(tmp_path: Path) -> None:
    one = player(tmp_path, fails=True)
    with pytest.raises(EnvironmentFailed, match="OSError: gone"):
        one.play(one.make_creator(), 5, seeds())


def test_a_distribution_is_sampled_unless_greedy_is_asked_for(tmp_path: Path) -> None:
    sampled = player(tmp_path, policy="distribution")
    obs = torch.zeros(200, 1)
    drawn = sampled.choose(obs, 0, torch.Generator().manual_seed(0))
    assert sampled.samples
    assert set(drawn.tolist()) == {0, 1}
    for best in (player(tmp_path, greedy=True, policy="distribution"), player(tmp_path)):
        assert not best.samples
        assert set(best.choose(obs, 0, torch.Generator()).tolist()) == {0}


def test_an_env_that_is_no_string_is_refused(tmp_path: Path) -> None:
    player(tmp_path)
    path = tmp_path / DESCRIPTION_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"env": ["CartPole-v1"]}))
    with pytest.raises(TypeError, match="env must be a string"):
        Player(tmp_path)
