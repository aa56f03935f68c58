"""REINFORCE's networks by hand and against torch.distributions, how they sample, and what is its own in a policy's two files."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from algorithms.dqn import policy as dqn_policy
from algorithms.reinforce import policy
from algorithms.reinforce.networks import CategoricalPolicy, GaussianPolicy, ValueNetwork
from algorithms.rl.policy_files import DESCRIPTION_FILE, WEIGHTS_FILE, PolicyDescription

COMMON: dict[str, Any] = {
    "env": "CartPole-v1",
    "env_config": {},
    "obs_size": 4,
    "fcnet_hiddens": (8, 6),
    "fcnet_activation": "silu",
    "num_env_steps_sampled_lifetime": 123,
}
CATEGORICAL = policy.Description(num_actions=3, action_size=None, **COMMON)
GAUSSIAN = policy.Description(num_actions=None, action_size=2, **COMMON)

LOGITS_3 = st.lists(st.floats(-20, 20, width=32), min_size=3, max_size=3)
NUMBERS_2 = st.lists(st.floats(-5, 5, width=32), min_size=2, max_size=2)

NUM_DRAWS = 40_000
"""Of a frequency or a mean; off by more than four of its standard errors is once in 16,000."""


def set_parameters(network: nn.Module, *values: Any) -> None:
    """Set all of them, in their order."""
    for parameter, value in zip(network.parameters(), values, strict=True):
        parameter.data = torch.as_tensor(value, dtype=torch.float32).reshape(parameter.shape)


def categorical_of(logits_SA: Any) -> CategoricalPolicy:
    """Return a policy of these logits in states that are shown one-hot."""
    logits_SA = torch.as_tensor(logits_SA, dtype=torch.float32)
    network = CategoricalPolicy(len(logits_SA), logits_SA.shape[1], [], "tanh")
    set_parameters(network, logits_SA.T, torch.zeros(logits_SA.shape[1]))
    return network


def gaussian_of(means_SA: Any, log_stds_A: Any) -> GaussianPolicy:
    """Return a policy of these means in states that are shown one-hot."""
    means_SA = torch.as_tensor(means_SA, dtype=torch.float32)
    network = GaussianPolicy(len(means_SA), means_SA.shape[1], [], "tanh")
    set_parameters(network, log_stds_A, means_SA.T, torch.zeros(means_SA.shape[1]))
    return network


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Discrete actions


def test_log_probs_and_entropies_of_a_categorical_policy_by_hand() -> None:
    """Logits of 0, log 2 and log 5 are probabilities of 1/8, 2/8 and 5/8; logits that are all the same are thirds."""
    network = categorical_of([[0.0, math.log(2), math.log(5)], [-7.0] * 3])
    obs_BS, actions_B = torch.eye(2)[[0, 0, 0, 1]], torch.tensor([0, 1, 2, 1])
    log_probs_B, entropies_B = network.log_probs_and_entropies(obs_BS, actions_B)
    torch.testing.assert_close(log_probs_B, torch.tensor([1 / 8, 2 / 8, 5 / 8, 1 / 3]).log())
    entropy = (math.log(8) + 2 * math.log(4) + 5 * math.log(8 / 5)) / 8
    torch.testing.assert_close(entropies_B, torch.tensor([entropy, entropy, entropy, math.log(3)]))


@settings(deadline=None)
@given(
    logits_BA=st.lists(LOGITS_3, min_size=1, max_size=4), scale=st.sampled_from([1.0, 1e4]), data=st.data()
)
def test_a_categorical_policy_and_its_gradients_are_those_of_torch_distributions(
    logits_BA: list[list[float]], scale: float, data: st.DataObject
) -> None:
    """Also where a probability is as good as 0, whose logarithm times it is 0 and not NaN."""
    actions_B = torch.tensor([data.draw(st.integers(0, 2)) for _ in logits_BA])
    network = categorical_of(scale * torch.tensor(logits_BA))
    log_probs_B, entropies_B = network.log_probs_and_entropies(torch.eye(len(logits_BA)), actions_B)
    logits = (scale * torch.tensor(logits_BA)).double().requires_grad_()
    theirs = torch.distributions.Categorical(logits=logits)
    torch.testing.assert_close(log_probs_B, theirs.log_prob(actions_B).float(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(entropies_B, theirs.entropy().float(), atol=1e-5, rtol=1e-5)
    (log_probs_B.sum() + 3 * entropies_B.sum()).backward()
    (theirs.log_prob(actions_B).sum() + 3 * theirs.entropy().sum()).backward()
    assert logits.grad is not None
    torch.testing.assert_close(next(network.parameters()).grad, logits.grad.T.float(), atol=1e-4, rtol=1e-4)


def test_discrete_actions_come_as_often_as_their_probabilities_say() -> None:
    """In each of two states of the same batch, 40,000 times."""
    probs_SA = torch.tensor([[0.7, 0.2, 0.1], [0.05, 0.05, 0.9]])
    actions_SB = (
        categorical_of(probs_SA.log())
        .sample(torch.eye(2).repeat_interleave(NUM_DRAWS, 0), seeded(0))
        .reshape(2, NUM_DRAWS)
    )
    often_SA = nn.functional.one_hot(actions_SB, 3).float().mean(dim=1)
    assert ((often_SA - probs_SA).abs() < 4 * (probs_SA * (1 - probs_SA) / NUM_DRAWS).sqrt()).all()


def test_discrete_actions_of_a_batch_do_not_depend_on_each_other() -> None:
    """Two states' actions are both 1 as often as the product of their probabilities says."""
    network = categorical_of(torch.tensor([[0.5, 0.5], [0.4, 0.6]]).log())
    first_B, second_B = network.sample(torch.eye(2).repeat(NUM_DRAWS, 1), seeded(0)).reshape(NUM_DRAWS, 2).T
    assert abs((first_B * second_B).float().mean().item() - 0.3) < 4 * math.sqrt(0.3 * 0.7 / NUM_DRAWS)


def test_an_action_of_probability_0_is_never_drawn() -> None:
    actions_B = categorical_of([[0.0, -1000.0, 0.0]]).sample(torch.ones(NUM_DRAWS, 1), seeded(0))
    assert set(actions_B.tolist()) == {0, 2}


def test_the_greedy_action_is_the_likeliest() -> None:
    actions_B = policy.greedy(
        categorical_of([[1.0, 3.0, 2.0], [5.0, 4.0, -9.0], [-3.0, -2.0, -1.0]]), torch.eye(3)
    )
    assert actions_B.tolist() == [1, 0, 2]
    assert actions_B.dtype == torch.int64


# Actions that are vectors


def test_log_probs_and_entropies_of_a_gaussian_policy_by_hand() -> None:
    """Means of 1 and -1, deviations of 1 and 2. At (1, 1) that is 0 and 1 deviations away."""
    network = gaussian_of([[1.0, -1.0]], [0.0, math.log(2)])
    log_probs_B, entropies_B = network.log_probs_and_entropies(
        torch.ones(2, 1), torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    )
    at_the_mean = -math.log(2 * math.pi) - math.log(2)
    torch.testing.assert_close(log_probs_B, torch.tensor([at_the_mean - 0.5, at_the_mean]))
    torch.testing.assert_close(entropies_B, torch.full((2,), math.log(2 * math.pi * math.e) + math.log(2)))


def test_the_gradient_of_a_gaussian_policy_by_hand() -> None:
    """Two deviations of 0.5 above the mean: log pi rises by 2 / 0.5 with the mean, and by 2**2 - 1 with the log of the deviation."""
    network = gaussian_of([[3.0]], [math.log(0.5)])
    log_probs_B, entropies_B = network.log_probs_and_entropies(torch.ones(1, 1), torch.tensor([[4.0]]))
    log_std, weight, bias = network.parameters()
    for gradient, by_hand in zip(
        torch.autograd.grad(log_probs_B.sum(), (log_std, weight, bias)), (3.0, 4.0, 4.0), strict=True
    ):
        torch.testing.assert_close(gradient.flatten(), torch.tensor([by_hand]))
    (gradient,) = torch.autograd.grad(entropies_B.sum(), log_std)
    torch.testing.assert_close(gradient, torch.ones(1))


@settings(deadline=None)
@given(
    means=st.lists(NUMBERS_2, min_size=1, max_size=4),
    log_stds=st.lists(st.floats(-3, 2, width=32), min_size=2, max_size=2),
)
def test_a_gaussian_policy_is_that_of_torch_distributions(
    means: list[list[float]], log_stds: list[float]
) -> None:
    network, obs_BS = gaussian_of(means, log_stds), torch.eye(len(means))
    theirs = torch.distributions.Normal(
        torch.tensor(means), torch.tensor(log_stds).exp().expand(len(means), 2)
    )
    for actions_BA in (network.sample(obs_BS, seeded(0)), torch.tensor(means), torch.tensor(means) + 1):
        log_probs_B, entropies_B = network.log_probs_and_entropies(obs_BS, actions_BA.detach())
        torch.testing.assert_close(
            log_probs_B, theirs.log_prob(actions_BA.detach()).sum(dim=1), atol=1e-3, rtol=1e-4
        )
        torch.testing.assert_close(entropies_B, theirs.entropy().sum(dim=1))


def test_vectors_are_drawn_with_their_means_and_deviations_and_each_number_by_itself() -> None:
    means_SA, stds_A = torch.tensor([[1.0, -3.0], [0.0, 5.0]]), torch.tensor([0.5, 2.0])
    network = gaussian_of(means_SA, stds_A.log())
    actions = network.sample(torch.eye(2).repeat(NUM_DRAWS, 1), seeded(0)).detach().reshape(NUM_DRAWS, 2, 2)
    assert ((actions.mean(dim=0) - means_SA).abs() < 4 * stds_A / math.sqrt(NUM_DRAWS)).all()
    assert ((actions.std(dim=0) - stds_A).abs() < 4 * stds_A / math.sqrt(2 * NUM_DRAWS)).all()
    correlations = np.corrcoef(actions.reshape(NUM_DRAWS, 4).T.numpy()) - np.eye(4)
    assert (np.abs(correlations) < 4 / math.sqrt(NUM_DRAWS)).all()


def test_the_greedy_vector_is_the_mean() -> None:
    actions_BA = policy.greedy(gaussian_of([[1.0, -3.0], [0.25, 7.0]], [2.0, 2.0]), torch.eye(2))
    torch.testing.assert_close(actions_BA, torch.tensor([[1.0, -3.0], [0.25, 7.0]]))


# Both, and the value network


@pytest.mark.parametrize("description", [CATEGORICAL, GAUSSIAN], ids=["categorical", "gaussian"])
def test_a_generator_draws_the_same_actions_again_and_is_the_only_one_used(
    description: policy.Description,
) -> None:
    network, obs_BS = description.network(), torch.randn(50, 4)
    before = torch.get_rng_state()
    generator = seeded(1)
    first, second = policy.sampled(network, obs_BS, generator), policy.sampled(network, obs_BS, generator)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(first, second)
    assert not torch.equal(policy.sampled(network, obs_BS, seeded(2)), first)
    torch.rand(3)  # the global generator goes on
    assert torch.equal(policy.sampled(network, obs_BS, seeded(1)), first)
    assert (first.shape, first.dtype) == (
        ((50,), torch.int64) if description is CATEGORICAL else ((50, 2), torch.float32)
    )
    assert torch.equal(policy.greedy(network, obs_BS), policy.greedy(network, obs_BS))


def test_learning_begins_with_a_policy_that_prefers_nothing() -> None:
    """Every action is as likely as any other, and the means are about 0, with the deviation that was asked for."""
    obs_BS = torch.randn(20, 4)
    probs_BA = CategoricalPolicy(4, 5, [32], "tanh")(obs_BS).softmax(dim=1)
    assert ((probs_BA - 0.2).abs() < 0.01).all()
    gaussian = GaussianPolicy(4, 3, [32], "tanh", initial_log_std=-1)
    assert (gaussian(obs_BS).abs() < 0.05).all()
    torch.testing.assert_close(gaussian.log_std.detach(), torch.full((3,), -1.0))


def test_the_value_of_a_state_by_hand() -> None:
    """relu(1 - 2) and relu(1 + 2 + 0.5) are 0 and 3.5; 10 * 0 + 2 * 3.5 - 1 = 6."""
    network = ValueNetwork(2, [2], "relu")
    set_parameters(network, [[1.0, -1.0], [1.0, 1.0]], [0.0, 0.5], [[10.0, 2.0]], [-1.0])
    assert network(torch.tensor([[1.0, 2.0], [0.0, 0.0]])).tolist() == [6.0, 0.0]  # 2 * 0.5 - 1


NETWORKS = [
    lambda: CategoricalPolicy(6, 3, [5], "tanh"),
    lambda: GaussianPolicy(6, 2, [5], "relu"),
    lambda: ValueNetwork(6, [5], "silu"),
]


@pytest.mark.parametrize("make", NETWORKS, ids=["categorical", "gaussian", "value"])
def test_observations_of_any_shape_count_as_vectors_and_bytes_as_fractions_of_255(
    make: Callable[[], nn.Module],
) -> None:
    network = make()
    bytes_B23 = torch.randint(256, (4, 2, 3), dtype=torch.uint8)
    torch.testing.assert_close(network(bytes_B23), network(bytes_B23.reshape(4, 6).float() / 255))
    assert not torch.equal(network(bytes_B23), network(bytes_B23.float()))


@pytest.mark.parametrize("description", [CATEGORICAL, GAUSSIAN], ids=["categorical", "gaussian"])
def test_actions_in_byte_states_are_those_in_their_fractions(description: policy.Description) -> None:
    network = description.network()
    bytes_BS = torch.randint(256, (30, 4), dtype=torch.uint8)
    fractions_BS = bytes_BS.float() / 255
    torch.testing.assert_close(policy.greedy(network, bytes_BS), policy.greedy(network, fractions_BS))
    actions = policy.sampled(network, bytes_BS, seeded(0))
    torch.testing.assert_close(policy.sampled(network, fractions_BS, seeded(0)), actions)
    of_bytes, of_fractions = (
        network.log_probs_and_entropies(obs_BS, actions.clone()) for obs_BS in (bytes_BS, fractions_BS)
    )
    torch.testing.assert_close(of_bytes, of_fractions)


@pytest.mark.parametrize(
    "make", [lambda: CategoricalPolicy(1, 3, [5], "tanh"), lambda: ValueNetwork(1, [5], "silu")]
)
def test_observations_that_are_one_number_count_as_vectors_of_one(make: Callable[[], nn.Module]) -> None:
    network, obs_B = make(), torch.randn(4)
    torch.testing.assert_close(network(obs_B), network(obs_B.unsqueeze(1)))


# The two files: what they have in common with other algorithms' is in test_dqn_networks.py


def save_policy(
    folder: Path, description: PolicyDescription, weights: dict[str, Tensor], **changes: Any
) -> None:
    """Write the two files, the description with these changes."""
    save_file(weights, folder / WEIGHTS_FILE)
    (folder / DESCRIPTION_FILE).write_text(json.dumps(json.loads(description.to_json()) | changes))


@pytest.mark.parametrize("description", [CATEGORICAL, GAUSSIAN], ids=["categorical", "gaussian"])
def test_a_saved_policy_loads_to_the_same_actions(tmp_path: Path, description: policy.Description) -> None:
    network = description.network()
    if isinstance(network, GaussianPolicy):
        network.log_std.data = torch.tensor([-1.0, 0.5])  # other than where a new one's is
    save_policy(tmp_path, description, network.state_dict())
    loaded, told = policy.load(tmp_path)
    obs = torch.randn(20, 4)
    assert type(loaded) is type(network)
    assert torch.equal(policy.greedy(loaded, obs), policy.greedy(network, obs))
    assert torch.equal(policy.sampled(loaded, obs, seeded(0)), policy.sampled(network, obs, seeded(0)))
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
        (GAUSSIAN, {"algorithm": "ppo"}, "policy.json is of 'ppo', not of reinforce"),
    ],
)
def test_a_description_of_another_policy_is_refused(
    tmp_path: Path, description: policy.Description, changes: dict[str, Any], message: str
) -> None:
    save_policy(tmp_path, description, description.network().state_dict(), **changes)
    with pytest.raises((ValueError, OSError, TypeError), match=re.escape(message)):
        policy.load(tmp_path)


def test_the_policy_of_another_algorithm_is_refused_by_its_name(tmp_path: Path) -> None:
    of_dqn = dqn_policy.Description(num_actions=3, **COMMON)
    for description, load, names in (
        (of_dqn, policy.load, "policy.json is of 'dqn', not of reinforce"),
        (CATEGORICAL, dqn_policy.load, "policy.json is of 'reinforce', not of dqn"),
    ):
        save_policy(tmp_path, description, description.network().state_dict())
        with pytest.raises(ValueError, match=names):
            load(tmp_path)


OBS_4, ACTIONS_2 = Box(-1, 1, (4,)), Box(-1, 1, (2,))


def test_a_policy_suits_environments_of_its_sizes() -> None:
    CATEGORICAL.require_spaces(OBS_4, Discrete(3))
    CATEGORICAL.require_spaces(Box(0, 255, (2, 2), np.uint8), Discrete(3))  # of any shape
    GAUSSIAN.require_spaces(OBS_4, ACTIONS_2)
    GAUSSIAN.require_spaces(OBS_4, Box(-7, 9, (2,)))
    assert policy.action_sizes(Discrete(3)) == (3, None)
    assert policy.action_sizes(ACTIONS_2) == (None, 2)


@pytest.mark.parametrize(
    ("description", "obs", "actions", "message"),
    [
        (CATEGORICAL, Box(-1, 1, (5,)), Discrete(3), "and the policy is for 4 numbers and 3 actions"),
        (CATEGORICAL, OBS_4, Discrete(2), "and the policy is for 4 numbers and 3 actions"),
        (CATEGORICAL, OBS_4, Box(-1, 1, (3,)), "and the policy is for 4 numbers and 3 actions"),
        (GAUSSIAN, OBS_4, Box(-1, 1, (3,)), "and the policy is for 4 numbers and actions of 2 numbers"),
        (GAUSSIAN, OBS_4, Discrete(2), "and the policy is for 4 numbers and actions of 2 numbers"),
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
    description: policy.Description, obs: Any, actions: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as refused:
        description.require_spaces(obs, actions)
    assert str(refused.value).startswith("env 'CartPole-v1' ")
