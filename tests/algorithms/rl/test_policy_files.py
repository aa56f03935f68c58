"""A policy's two files: they load to the same actions, and whatever is broken is refused."""

from __future__ import annotations

import dataclasses
import json
import pickle
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from safetensors.torch import save, save_file
from torch import Tensor, nn

from algorithms.rl.networks import GaussianPolicy
from algorithms.rl.policy_files import DESCRIPTION_FILE, WEIGHTS_FILE, PolicyDescription, action_sizes, load

COMMON: dict[str, Any] = {
    "env": "CartPole-v1",
    "env_config": {},
    "obs_size": 4,
    "fcnet_hiddens": (8, 6),
    "fcnet_activation": "silu",
    "num_env_steps_sampled_lifetime": 123,
}


CATEGORICAL = PolicyDescription(
    algorithm="reinforce", policy="distribution", num_actions=3, action_size=None, **COMMON
)
GAUSSIAN = PolicyDescription(
    algorithm="reinforce", policy="distribution", num_actions=None, action_size=2, **COMMON
)
DESCRIPTION = PolicyDescription(
    algorithm="dqn",
    policy="values",
    action_size=None,
    env="CartPole-v1",
    env_config={"sutton_barto_reward": True},
    obs_size=4,
    num_actions=2,
    fcnet_hiddens=(8, 6),
    fcnet_activation="tanh",
    num_env_steps_sampled_lifetime=123,
)


def save_policy(
    folder: Path, network: nn.Module, description: PolicyDescription = DESCRIPTION, **changes: Any
) -> None:
    """Write the two files, the description with these changes."""
    save_file(network.state_dict(), folder / WEIGHTS_FILE)
    (folder / DESCRIPTION_FILE).write_text(json.dumps(json.loads(description.to_json()) | changes))


def test_a_saved_policy_loads_to_the_same_values(tmp_path: Path) -> None:
    network = DESCRIPTION.network()
    save_policy(tmp_path, network)
    loaded, description = load(tmp_path)
    obs = torch.randn(20, 4)
    assert torch.equal(loaded(obs), network(obs))
    assert torch.equal(loaded.greedy(obs), network(obs).argmax(dim=1))
    assert not loaded.training
    assert json.loads(description.to_json()) == json.loads(DESCRIPTION.to_json())
    assert description.env_config == {"sutton_barto_reward": True}
    assert description.num_env_steps_sampled_lifetime == 123


@pytest.mark.parametrize(
    "changes",
    [
        {"fcnet_hiddens": [8, 7]},
        {"fcnet_hiddens": [8]},
        {"fcnet_hiddens": [8, -6]},
        {"fcnet_hiddens": ["8", "6"]},
        {"fcnet_hiddens": None},
        {"obs_size": 5},
        {"obs_size": -4},
        {"obs_size": "4"},
        {"obs_size": 10**13},
        {"num_actions": 3},
        {"num_actions": None},
        {"fcnet_activation": "gelu"},
        {"fcnet_activation": ["relu"]},
        {"unknown": 1},
    ],
    ids=repr,
)
def test_a_description_of_another_network_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    save_policy(tmp_path, DESCRIPTION.network(), **changes)
    with pytest.raises((ValueError, OSError, TypeError)):
        load(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "5", "{}", '{"env": "CartPole-v1"}', "\ud800"], ids=repr
)
def test_a_broken_description_is_refused(tmp_path: Path, text: str) -> None:
    save_policy(tmp_path, DESCRIPTION.network())
    (tmp_path / DESCRIPTION_FILE).write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises((ValueError, OSError, TypeError)):
        load(tmp_path)


def network_weights(**changes: Tensor) -> bytes:
    content: bytes = save(dict(DESCRIPTION.network().state_dict()) | changes)
    return content


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        network_weights()[:-8],
        network_weights() + b"more",
        network_weights(extra=torch.ones(1)),
        save({}),
    ],
    ids=["empty", "garbage", "cut short", "too long", "a tensor too many", "none"],
)
def test_broken_weights_are_refused(tmp_path: Path, content: bytes) -> None:
    save_policy(tmp_path, DESCRIPTION.network())
    (tmp_path / WEIGHTS_FILE).write_bytes(content)
    with pytest.raises((ValueError, OSError, TypeError)):
        load(tmp_path)


@pytest.mark.parametrize("name", [WEIGHTS_FILE, DESCRIPTION_FILE])
def test_a_missing_file_is_refused(tmp_path: Path, name: str) -> None:
    save_policy(tmp_path, DESCRIPTION.network())
    (tmp_path / name).unlink()
    with pytest.raises(OSError, match=name):
        load(tmp_path)


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", [WEIGHTS_FILE, DESCRIPTION_FILE])
def test_nothing_is_unpickled(tmp_path: Path, name: str) -> None:
    save_policy(tmp_path, DESCRIPTION.network())
    (tmp_path / name).write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    with pytest.raises((ValueError, OSError, TypeError)):
        load(tmp_path)
    assert not (tmp_path / "sprung").exists()
    pickle.loads((tmp_path / name).read_bytes())
    assert (tmp_path / "sprung").exists()  # so the trap works


def test_nothing_that_the_description_names_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trap_of_a_policy.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    save_policy(tmp_path, DESCRIPTION.network(), env="trap_of_a_policy.Env")
    _, description = load(tmp_path)
    assert description.env == "trap_of_a_policy.Env"
    assert "trap_of_a_policy" not in sys.modules


@pytest.mark.parametrize("description", [CATEGORICAL, GAUSSIAN], ids=["categorical", "gaussian"])
def test_a_saved_policy_loads_to_the_same_actions(tmp_path: Path, description: PolicyDescription) -> None:
    network = description.network()
    if isinstance(network, GaussianPolicy):
        network.log_std.data = torch.tensor([-1.0, 0.5])  # other than where a new one's is
    save_policy(tmp_path, network, description)
    loaded, told = load(tmp_path)
    obs = torch.randn(20, 4)
    assert type(loaded) is type(network)
    assert torch.equal(loaded.greedy(obs), network.greedy(obs))
    assert torch.equal(
        loaded.sample(obs, torch.Generator().manual_seed(0)),
        network.sample(obs, torch.Generator().manual_seed(0)),
    )
    assert json.loads(told.to_json()) == json.loads(description.to_json())
    assert (told.num_actions, told.action_size) == (description.num_actions, description.action_size)
    assert told.algorithm == "reinforce"


@pytest.mark.parametrize(
    ("description", "changes", "message"),
    [
        (CATEGORICAL, {"num_actions": None}, "num_actions or action_size must be given"),
        (CATEGORICAL, {"num_actions": None, "action_size": 3}, "log_std"),
        (GAUSSIAN, {"num_actions": 2, "action_size": None}, "log_std"),
        (CATEGORICAL, {"num_actions": 4}, "size mismatch"),
        (CATEGORICAL, {"num_actions": -1}, "negative dimension"),
        (GAUSSIAN, {"action_size": 3}, "size mismatch"),
        (GAUSSIAN, {"action_size": "2"}, "must be tuple of ints"),
        (GAUSSIAN, {"policy": "values"}, "multiple values for keyword argument 'policy'"),
    ],
)
def test_a_description_of_another_policy_is_refused(
    tmp_path: Path, description: PolicyDescription, changes: dict[str, Any], message: str
) -> None:
    save_policy(tmp_path, description.network(), description, **changes)
    with pytest.raises((ValueError, OSError, TypeError), match=re.escape(message)):
        load(tmp_path)


IN_EVERY_FILE = [
    "algorithm",
    "env",
    "env_config",
    "obs_size",
    "fcnet_hiddens",
    "fcnet_activation",
    "num_env_steps_sampled_lifetime",
    "num_actions",
]


@pytest.mark.parametrize(
    ("description", "entries"),
    [
        (DESCRIPTION, IN_EVERY_FILE),
        (CATEGORICAL, [*IN_EVERY_FILE, "action_size"]),
        (GAUSSIAN, [*IN_EVERY_FILE, "action_size"]),
    ],
    ids=["values", "categorical", "gaussian"],
)
@pytest.mark.parametrize("algorithm", ["dqn", "reinforce", "a third"])
def test_the_entries_of_a_file_say_how_the_policy_acts(
    tmp_path: Path, description: PolicyDescription, entries: list[str], algorithm: str
) -> None:
    """They are those of version 0.1. A third algorithm needs no entry of its own."""
    save_policy(tmp_path, description.network(), description, algorithm=algorithm)
    assert list(json.loads((tmp_path / DESCRIPTION_FILE).read_text())) == entries
    _, told = load(tmp_path)
    assert told == dataclasses.replace(
        description, algorithm=algorithm, fcnet_hiddens=list(description.fcnet_hiddens)
    )


OBS_4, ACTIONS_2 = Box(-1, 1, (4,)), Box(-1, 1, (2,))


def test_a_policy_suits_environments_of_its_sizes() -> None:
    CATEGORICAL.require_spaces(OBS_4, Discrete(3))
    CATEGORICAL.require_spaces(Box(0, 255, (2, 2), np.uint8), Discrete(3))  # of any shape
    GAUSSIAN.require_spaces(OBS_4, ACTIONS_2)
    GAUSSIAN.require_spaces(OBS_4, Box(-7, 9, (2,)))
    assert action_sizes(Discrete(3)) == (3, None)
    assert action_sizes(ACTIONS_2) == (None, 2)


@pytest.mark.parametrize(
    ("description", "obs", "actions", "message"),
    [
        (CATEGORICAL, Box(-1, 1, (5,)), Discrete(3), "but the policy is for 4 numbers and 3 actions"),
        (CATEGORICAL, OBS_4, Discrete(2), "but the policy is for 4 numbers and 3 actions"),
        (CATEGORICAL, OBS_4, Box(-1, 1, (3,)), "but the policy is for 4 numbers and 3 actions"),
        (GAUSSIAN, OBS_4, Box(-1, 1, (3,)), "but the policy is for 4 numbers and actions of 2 numbers"),
        (GAUSSIAN, OBS_4, Discrete(2), "but the policy is for 4 numbers and actions of 2 numbers"),
        (
            GAUSSIAN,
            OBS_4,
            Discrete(2, start=1),
            "env 'CartPole-v1' must have discrete actions from 0 on, or vectors of real numbers, not",
        ),
        (
            GAUSSIAN,
            Discrete(4),
            ACTIONS_2,
            "env 'CartPole-v1' must have observations of a Box, not Discrete(4)",
        ),
    ],
)
def test_environments_of_other_sizes_are_refused(
    description: PolicyDescription, obs: Any, actions: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as refused:
        description.require_spaces(obs, actions)
    assert str(refused.value).startswith("env 'CartPole-v1' ")
