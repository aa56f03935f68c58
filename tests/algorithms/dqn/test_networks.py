"""The Q-network by hand, and a policy's two files: what loads to the same values, what is refused."""

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save, save_file
from torch import Tensor

from algorithms.dqn import policy
from algorithms.dqn.networks import QNetwork
from algorithms.rl.mlp import ACTIVATIONS
from algorithms.rl.policy_files import DESCRIPTION_FILE, WEIGHTS_FILE

DESCRIPTION = policy.Description(
    env="CartPole-v1",
    env_config={"sutton_barto_reward": True},
    obs_size=4,
    num_actions=2,
    fcnet_hiddens=(8, 6),
    fcnet_activation="tanh",
    num_env_steps_sampled_lifetime=123,
)


def save_policy(folder: Path, network: QNetwork, **changes: Any) -> None:
    """Write the two files, the description with these changes."""
    save_file(network.state_dict(), folder / WEIGHTS_FILE)
    (folder / DESCRIPTION_FILE).write_text(json.dumps(json.loads(DESCRIPTION.to_json()) | changes))


def test_values_by_hand() -> None:
    """One hidden layer: relu(1 - 2, 1 + 2 + 0.5) = (0, 3.5); then 10 * 0 + 1 * 3.5 - 1 and 0 * 0 + 2 * 3.5."""
    network = QNetwork(2, 2, [2], "relu")
    weights = ([[1.0, -1.0], [1.0, 1.0]], [0.0, 0.5], [[10.0, 1.0], [0.0, 2.0]], [-1.0, 0.0])
    for parameter, value in zip(network.parameters(), weights, strict=True):
        parameter.data = torch.tensor(value)
    torch.testing.assert_close(network(torch.tensor([[1.0, 2.0]])), torch.tensor([[2.5, 7.0]]))


def test_without_hidden_layers_it_is_a_table_over_one_hot_states() -> None:
    network = QNetwork(3, 2, [], "relu")
    weight, bias = network.parameters()
    torch.testing.assert_close(network(torch.eye(3)), weight.T + bias)


@given(
    batch=st.integers(1, 5),
    obs_size=st.integers(1, 9),
    num_actions=st.integers(1, 6),
    hiddens=st.lists(st.integers(1, 9), max_size=4),
    activation=st.sampled_from(sorted(ACTIVATIONS)),
)
def test_every_hidden_layer_is_there_in_its_size(
    batch: int, obs_size: int, num_actions: int, hiddens: list[int], activation: str
) -> None:
    network = QNetwork(obs_size, num_actions, hiddens, activation)
    weights = [tuple(parameter.shape) for parameter in network.parameters() if parameter.ndim == 2]
    sizes = [obs_size, *hiddens, num_actions]
    assert weights == list(zip(sizes[1:], sizes[:-1], strict=True))
    assert sum(isinstance(module, ACTIVATIONS[activation]) for module in network.modules()) == len(hiddens)
    q_BA = network(torch.randn(batch, obs_size))
    assert q_BA.shape == (batch, num_actions)
    q_BA.square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize(
    ("activation", "at_minus_one", "at_two"),
    [("relu", 0.0, 2.0), ("tanh", -0.76159, 0.96403), ("silu", -0.26894, 1.76159)],
)
def test_the_activation_asked_for_is_between_the_layers(
    activation: str, at_minus_one: float, at_two: float
) -> None:
    """One unit, weights of 1: the value is the activation of the observation, and so is not bent again at the end."""
    network = QNetwork(1, 1, [1], activation)
    for parameter, value in zip(network.parameters(), (1.0, 0.0, -3.0, 0.0), strict=True):
        torch.nn.init.constant_(parameter, value)
    torch.testing.assert_close(
        network(torch.tensor([[-1.0], [2.0]])),
        -3 * torch.tensor([[at_minus_one], [at_two]]),
        atol=1e-4,
        rtol=0,
    )


def test_bytes_are_fractions_of_255_and_other_numbers_are_what_they_are() -> None:
    network = QNetwork(3, 2, [5], "silu")
    bytes_BS = torch.tensor([[0, 51, 255]], dtype=torch.uint8)
    torch.testing.assert_close(network(bytes_BS), network(torch.tensor([[0.0, 0.2, 1.0]])))
    as_they_are = network(torch.tensor([[0.0, 51.0, 255.0]]))
    for dtype in (torch.int64, torch.float64):
        torch.testing.assert_close(network(bytes_BS.to(dtype)), as_they_are)
        assert network(bytes_BS.to(dtype)).dtype == torch.float32


def test_observations_of_any_shape_count_as_vectors() -> None:
    network = QNetwork(6, 2, [5], "relu")
    obs_B23 = torch.randn(4, 2, 3)
    assert torch.equal(network(obs_B23), network(obs_B23.reshape(4, 6)))


def test_a_saved_policy_loads_to_the_same_values(tmp_path: Path) -> None:
    network = DESCRIPTION.network()
    save_policy(tmp_path, network)
    loaded, description = policy.load(tmp_path)
    obs = torch.randn(20, 4)
    assert torch.equal(loaded(obs), network(obs))
    assert torch.equal(policy.greedy(loaded, obs), network(obs).argmax(dim=1))
    assert not loaded.training
    assert json.loads(description.to_json()) == json.loads(DESCRIPTION.to_json())
    assert description.env_config == {"sutton_barto_reward": True}
    assert description.num_env_steps_sampled_lifetime == 123


def test_greedy_takes_the_highest_value() -> None:
    network = QNetwork(3, 3, [], "relu")
    for parameter, value in zip(
        network.parameters(), (torch.tensor([[1.0, 0, 5], [2, 9, 0], [0, 1, 4]]), torch.zeros(3)), strict=True
    ):
        parameter.data = value
    actions = policy.greedy(network, torch.eye(3))  # columns: (1, 2, 0), (0, 9, 1), (5, 0, 4)
    assert actions.tolist() == [1, 1, 0]
    assert actions.dtype == torch.int64


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
        policy.load(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "5", "{}", '{"env": "CartPole-v1"}', "\ud800"], ids=repr
)
def test_a_broken_description_is_refused(tmp_path: Path, text: str) -> None:
    save_policy(tmp_path, DESCRIPTION.network())
    (tmp_path / DESCRIPTION_FILE).write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises((ValueError, OSError, TypeError)):
        policy.load(tmp_path)


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
        policy.load(tmp_path)


@pytest.mark.parametrize("name", [WEIGHTS_FILE, DESCRIPTION_FILE])
def test_a_missing_file_is_refused(tmp_path: Path, name: str) -> None:
    save_policy(tmp_path, DESCRIPTION.network())
    (tmp_path / name).unlink()
    with pytest.raises(OSError, match=name):
        policy.load(tmp_path)


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
        policy.load(tmp_path)
    assert not (tmp_path / "sprung").exists()
    pickle.loads((tmp_path / name).read_bytes())
    assert (tmp_path / "sprung").exists()  # so the trap works


def test_nothing_that_the_description_names_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trap_of_a_policy.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    save_policy(tmp_path, DESCRIPTION.network(), env="trap_of_a_policy.Env")
    _, description = policy.load(tmp_path)
    assert description.env == "trap_of_a_policy.Env"
    assert "trap_of_a_policy" not in sys.modules
