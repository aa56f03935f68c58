"""The RL networks by hand and against torch.distributions, and how the policies sample."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from algorithms.rl.networks import ACTIVATIONS, CategoricalPolicy, GaussianPolicy, QNetwork, ValueNetwork


def test_values_by_hand() -> None:
    """The hidden layer is relu(1 - 2, 1 + 2 + 0.5) = (0, 3.5). Then 10 * 0 + 3.5 - 1 and 0 * 0 + 2 * 3.5."""
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
    """One unit with weights of 1 and -3: -3 times the activation of the observation, and none at the end."""
    network = QNetwork(1, 1, [1], activation)
    for parameter, value in zip(network.parameters(), (1.0, 0.0, -3.0, 0.0), strict=True):
        torch.nn.init.constant_(parameter, value)
    torch.testing.assert_close(
        network(torch.tensor([[-1.0], [2.0]])),
        -3 * torch.tensor([[at_minus_one], [at_two]]),
        atol=1e-4,
        rtol=0,
    )


def test_bytes_become_fractions_of_255_and_other_numbers_stay() -> None:
    network = QNetwork(3, 2, [5], "silu")
    bytes_BS = torch.tensor([[0, 51, 255]], dtype=torch.uint8)
    torch.testing.assert_close(network(bytes_BS), network(torch.tensor([[0.0, 0.2, 1.0]])))
    unscaled = network(torch.tensor([[0.0, 51.0, 255.0]]))
    for dtype in (torch.int64, torch.float64):
        torch.testing.assert_close(network(bytes_BS.to(dtype)), unscaled)
        assert network(bytes_BS.to(dtype)).dtype == torch.float32


def test_observations_of_any_shape_count_as_vectors() -> None:
    network = QNetwork(6, 2, [5], "relu")
    obs_B23 = torch.randn(4, 2, 3)
    assert torch.equal(network(obs_B23), network(obs_B23.reshape(4, 6)))


def test_greedy_takes_the_highest_value() -> None:
    network = QNetwork(3, 3, [], "relu")
    for parameter, value in zip(
        network.parameters(), (torch.tensor([[1.0, 0, 5], [2, 9, 0], [0, 1, 4]]), torch.zeros(3)), strict=True
    ):
        parameter.data = value
    actions = network.greedy(torch.eye(3))  # columns: (1, 2, 0), (0, 9, 1), (5, 0, 4)
    assert actions.tolist() == [1, 1, 0]
    assert actions.dtype == torch.int64


POLICIES = [CategoricalPolicy(4, 3, (8, 6), "silu"), GaussianPolicy(4, 2, (8, 6), "silu")]

LOGITS_3 = st.lists(st.floats(-20, 20, width=32), min_size=3, max_size=3)
NUMBERS_2 = st.lists(st.floats(-5, 5, width=32), min_size=2, max_size=2)

NUM_DRAWS = 40_000
"""Draws per frequency or mean. An error of more than four standard errors comes once in 16,000."""


def set_parameters(network: nn.Module, *values: Any) -> None:
    """Set all parameters, in their order."""
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


def test_log_probs_and_entropies_of_a_categorical_policy_by_hand() -> None:
    """Logits of 0, log 2 and log 5 are probabilities of 1/8, 2/8 and 5/8; equal logits are thirds."""
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
    actions_B = categorical_of([[1.0, 3.0, 2.0], [5.0, 4.0, -9.0], [-3.0, -2.0, -1.0]]).greedy(torch.eye(3))
    assert actions_B.tolist() == [1, 0, 2]
    assert actions_B.dtype == torch.int64


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
    """Two deviations of 0.5 above the mean. The gradients are 2 / 0.5 (mean) and 2**2 - 1 (log deviation)."""
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
    """Theirs in float64. Ours is off by some eps of its largest term, (1 / exp(-3))^2 = 400."""
    network, obs_BS = gaussian_of(means, log_stds), torch.eye(len(means))
    deviations_BA = torch.tensor(log_stds).double().exp().expand(len(means), 2)
    theirs = torch.distributions.Normal(torch.tensor(means).double(), deviations_BA)
    atol = 8 * 400 * torch.finfo(torch.float32).eps
    for actions_BA in (network.sample(obs_BS, seeded(0)), torch.tensor(means), torch.tensor(means) + 1):
        log_probs_B, entropies_B = network.log_probs_and_entropies(obs_BS, actions_BA.detach())
        by_torch_B = theirs.log_prob(actions_BA.detach().double()).sum(dim=1)
        torch.testing.assert_close(log_probs_B, by_torch_B.float(), atol=atol, rtol=1e-5)
        torch.testing.assert_close(entropies_B, theirs.entropy().sum(dim=1).float(), atol=1e-5, rtol=1e-5)


def test_vectors_are_drawn_with_their_means_and_deviations_and_each_number_by_itself() -> None:
    means_SA, stds_A = torch.tensor([[1.0, -3.0], [0.0, 5.0]]), torch.tensor([0.5, 2.0])
    network = gaussian_of(means_SA, stds_A.log())
    actions = network.sample(torch.eye(2).repeat(NUM_DRAWS, 1), seeded(0)).detach().reshape(NUM_DRAWS, 2, 2)
    assert ((actions.mean(dim=0) - means_SA).abs() < 4 * stds_A / math.sqrt(NUM_DRAWS)).all()
    assert ((actions.std(dim=0) - stds_A).abs() < 4 * stds_A / math.sqrt(2 * NUM_DRAWS)).all()
    correlations = np.corrcoef(actions.reshape(NUM_DRAWS, 4).T.numpy()) - np.eye(4)
    assert (np.abs(correlations) < 4 / math.sqrt(NUM_DRAWS)).all()


def test_the_greedy_vector_is_the_mean() -> None:
    actions_BA = gaussian_of([[1.0, -3.0], [0.25, 7.0]], [2.0, 2.0]).greedy(torch.eye(2))
    torch.testing.assert_close(actions_BA, torch.tensor([[1.0, -3.0], [0.25, 7.0]]))


@pytest.mark.parametrize("network", POLICIES, ids=["categorical", "gaussian"])
def test_a_generator_draws_the_same_actions_again_and_is_the_only_one_used(
    network: CategoricalPolicy | GaussianPolicy,
) -> None:
    obs_BS = torch.randn(50, 4)
    before = torch.get_rng_state()
    generator = seeded(1)
    first, second = network.sample(obs_BS, generator), network.sample(obs_BS, generator)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(first, second)
    assert not torch.equal(network.sample(obs_BS, seeded(2)), first)
    torch.rand(3)  # the global generator goes on
    assert torch.equal(network.sample(obs_BS, seeded(1)), first)
    assert (first.shape, first.dtype) == (
        ((50,), torch.int64) if isinstance(network, CategoricalPolicy) else ((50, 2), torch.float32)
    )
    assert torch.equal(network.greedy(obs_BS), network.greedy(obs_BS))


def test_learning_begins_with_a_policy_that_prefers_nothing() -> None:
    """All actions are about equally likely, the means about 0, and the deviation is the initial one."""
    obs_BS = torch.randn(20, 4)
    probs_BA = CategoricalPolicy(4, 5, [32], "tanh")(obs_BS).softmax(dim=1)
    assert ((probs_BA - 0.2).abs() < 0.01).all()
    gaussian = GaussianPolicy(4, 3, [32], "tanh", initial_log_std=-1)
    assert (gaussian(obs_BS).abs() < 0.05).all()
    torch.testing.assert_close(gaussian.log_std.detach(), torch.full((3,), -1.0))


def test_the_value_of_a_state_by_hand() -> None:
    """relu(1 - 2) and relu(1 + 2 + 0.5) are 0 and 3.5, so 10 * 0 + 2 * 3.5 - 1 = 6."""
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


@pytest.mark.parametrize("network", POLICIES, ids=["categorical", "gaussian"])
def test_actions_in_byte_states_are_those_in_their_fractions(
    network: CategoricalPolicy | GaussianPolicy,
) -> None:
    bytes_BS = torch.randint(256, (30, 4), dtype=torch.uint8)
    fractions_BS = bytes_BS.float() / 255
    torch.testing.assert_close(network.greedy(bytes_BS), network.greedy(fractions_BS))
    actions = network.sample(bytes_BS, seeded(0))
    torch.testing.assert_close(network.sample(fractions_BS, seeded(0)), actions)
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
