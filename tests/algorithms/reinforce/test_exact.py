"""The claims of docs/theory.md on policy gradients, in numbers, on a process with a short list of episodes.

E episodes, B steps of them one after the other, S states, A actions, D = S * A parameters of a softmax
policy, a logit each. Sums over all episodes are exact (float64). A mean over draws is compared within 4.5 of
its standard errors, at fixed seeds, by `agrees`, which is also given what is wrong and must find it."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from algorithms.reinforce import losses
from algorithms.reinforce.reinforce import REINFORCE, REINFORCEConfig

S, A, HORIZON, END = 3, 2, 4, 3
STARTS = {0: 0.6, 1: 0.4}
TRANSITIONS = {
    (0, 0): {1: 0.7, 2: 0.3},
    (0, 1): {END: 0.5, 2: 0.5},
    (1, 0): {0: 0.6, 2: 0.4},
    (1, 1): {END: 0.8, 0: 0.2},
    (2, 0): {0: 0.5, 1: 0.5},
    (2, 1): {END: 0.4, 2: 0.6},
}
"""Probabilities of the next state by state and action. END terminates; a limit of HORIZON steps truncates."""
REWARDS = {(0, 0): 2.0, (0, 1): -1.0, (1, 0): 0.0, (1, 1): 1.0, (2, 0): 1.0, (2, 1): 0.0}
REWARD_OF_END = 1.0
"""On top of REWARDS, in the step that terminates."""

THETA_SA = torch.tensor([[0.3, -0.2], [-0.5, 0.4], [0.1, 0.6]], dtype=torch.float64)
"""Logits of the policy whose gradient is estimated."""
BASELINE_S = torch.tensor([1.3, -0.7, 2.0], dtype=torch.float64)
"""Of the state, and of nothing else."""
BASELINE_SA = torch.tensor([[1.0, -1.0], [0.5, 0.0], [-1.0, 1.0]], dtype=torch.float64)
"""Of the action, too."""


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tensors of a few numbers gain nothing from threads that wait for each other."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


few_examples = settings(derandomize=True, deadline=None, max_examples=25)


def reward(state: int, action: int, next_state: int) -> float:
    return REWARDS[state, action] + REWARD_OF_END * (next_state == END)


@dataclass(frozen=True)
class Episodes:
    """Episodes as the learner has them, one after the other, and what chance had to do with each."""

    states_B: Tensor
    actions_B: Tensor
    rewards_B: Tensor
    ends_B: Tensor
    chance_E: Tensor
    """Probability of an episode's start and of its transitions, given its actions."""
    last_states_E: Tensor

    @property
    def episode_B(self) -> Tensor:
        return self.ends_B.cumsum(0) - self.ends_B.long()

    @property
    def lengths_E(self) -> Tensor:
        return self.episode_B.bincount()

    def sums(self, values_B: Tensor) -> Tensor:
        """Add up over every episode's steps; [E] or [E, D]."""
        return values_B.new_zeros(len(self.chance_E), *values_B.shape[1:]).index_add(
            0, self.episode_B, values_B
        )

    def log_probs(self, theta_SA: Tensor) -> Tensor:
        return theta_SA.log_softmax(dim=1)[self.states_B, self.actions_B]

    def probs(self, theta_SA: Tensor = THETA_SA) -> Tensor:
        """p(episode); [E]."""
        return self.chance_E * self.sums(self.log_probs(theta_SA)).exp()

    def scores(self, theta_SA: Tensor = THETA_SA) -> Tensor:
        """Return the gradient of log pi(a_t|s_t): 1 for the action taken, less the probabilities; [B, D]."""
        of_state_BS, of_action_BA = (
            torch.nn.functional.one_hot(x, n).double() for x, n in ((self.states_B, S), (self.actions_B, A))
        )
        off_BA = of_action_BA - theta_SA.softmax(dim=1)[self.states_B]
        return (of_state_BS[:, :, None] * off_BA[:, None, :]).flatten(1)

    def estimates(self, weights_B: Tensor) -> Tensor:
        """What each episode says of the gradient; [E, D]."""
        return self.sums(weights_B[:, None] * self.scores())

    def picked(self, numbers_N: Tensor) -> "Episodes":
        """The episodes of these numbers, one after the other."""
        steps_E = torch.arange(len(self.ends_B)).split(self.lengths_E.tolist())
        steps_B = torch.cat([steps_E[number] for number in numbers_N.tolist()])
        states_B, actions_B, rewards_B, ends_B = (
            x[steps_B] for x in (self.states_B, self.actions_B, self.rewards_B, self.ends_B)
        )
        return Episodes(
            states_B, actions_B, rewards_B, ends_B, self.chance_E[numbers_N], self.last_states_E[numbers_N]
        )

    def drawn(self, num_episodes: int, seed: int) -> Tensor:
        """Numbers of episodes drawn with their probabilities."""
        return torch.multinomial(
            self.probs(), num_episodes, replacement=True, generator=torch.Generator().manual_seed(seed)
        )


def every_episode(horizon: int = HORIZON) -> Episodes:
    steps: list[tuple[int, int, float, bool]] = []
    chances: list[float] = []
    last_states: list[int] = []

    def go_on(past: list[tuple[int, int, float, bool]], state: int, chance: float) -> None:
        if state == END or len(past) == horizon:
            steps.extend([*past[:-1], (*past[-1][:3], True)])
            chances.append(chance)
            last_states.append(state)
            return
        for action in range(A):
            for next_state, p in TRANSITIONS[state, action].items():
                go_on(
                    [*past, (state, action, reward(state, action, next_state), False)], next_state, chance * p
                )

    for start, p in STARTS.items():
        go_on([], start, p)
    states, actions, rewards, ends = (torch.tensor(column) for column in zip(*steps, strict=True))
    return Episodes(
        states,
        actions,
        rewards.double(),
        ends,
        torch.tensor(chances, dtype=torch.float64),
        torch.tensor(last_states),
    )


ALL = every_episode()
PROBS_E = ALL.probs()
STATES_B = ALL.states_B


REWARD_SAN, CHANCE_SAN, START_S = (
    torch.zeros(*shape, dtype=torch.float64) for shape in ((S, A, S + 1), (S, A, S + 1), (S,))
)
for (s, a), chances in TRANSITIONS.items():
    for n, p in chances.items():
        REWARD_SAN[s, a, n], CHANCE_SAN[s, a, n] = reward(s, a, n), p
for s, p in STARTS.items():
    START_S[s] = p
"""The process once more, as arrays by state, action and next state, of which the last is END."""


def action_values(pi_SA: Tensor, gamma: float) -> list[Tensor]:
    """Q(s, a) at every step of an episode, by going backwards from the last: no episode is listed."""
    q_SA = torch.zeros(S, A, dtype=torch.float64)
    q_by_time: list[Tensor] = []
    for _ in range(HORIZON):
        value_N = torch.cat([(pi_SA * q_SA).sum(dim=1), torch.zeros(1, dtype=torch.float64)])
        q_SA = (CHANCE_SAN * (REWARD_SAN + gamma * value_N)).sum(dim=2)
        q_by_time.insert(0, q_SA)
    return q_by_time


def expected_return(theta_SA: Tensor, gamma: float) -> Tensor:
    pi_SA = theta_SA.softmax(dim=1)
    return (START_S[:, None] * pi_SA * action_values(pi_SA, gamma)[0]).sum()


def exact_gradient(gamma: float) -> Tensor:
    theta_SA = THETA_SA.clone().requires_grad_()
    return torch.autograd.grad(expected_return(theta_SA, gamma), theta_SA)[0].flatten()


# ---- the estimators, of the code's own functions


@dataclass(frozen=True)
class Estimator:
    name: str
    gamma: float
    from_start: bool = False

    def returns(self, episodes: Episodes) -> Tensor:
        returns_of = losses.total_returns if self.name == "total_return" else losses.rewards_to_go
        return returns_of(episodes.rewards_B, episodes.ends_B, self.gamma)

    def discounts(self, episodes: Episodes) -> Tensor:
        return (self.gamma if self.from_start else 1.0) ** losses.ages(episodes.ends_B).double()

    def weights(self, episodes: Episodes, baseline_B: Tensor | float = 0.0) -> Tensor:
        return (self.returns(episodes) - baseline_B) * self.discounts(episodes)


UNBIASED = [
    Estimator("total_return", 1.0),
    Estimator("total_return", 0.8),
    Estimator("reward_to_go", 1.0),
    Estimator("reward_to_go", 0.8, from_start=True),
]
TOTAL, TO_GO = UNBIASED[0], UNBIASED[2]
USUAL = Estimator("reward_to_go", 0.8)
"""All steps count alike: not the gradient of the discounted return, see below."""
BASELINES_B: dict[str, Tensor | float] = {"none": 0.0, "constant": 1.7, "of_state": BASELINE_S[STATES_B]}
estimators = pytest.mark.parametrize("estimator", UNBIASED, ids=lambda e: f"{e.name}-{e.gamma}")
baselines = pytest.mark.parametrize("baseline", BASELINES_B)


def expectation(weights_B: Tensor, episodes: Episodes = ALL) -> Tensor:
    """The exact mean over episodes of what policy_loss's gradient makes of these weights; [D]."""
    theta_SA = THETA_SA.clone().requires_grad_()
    chances_B = episodes.probs()[episodes.episode_B]
    loss = losses.policy_loss(episodes.log_probs(theta_SA), weights_B * chances_B, 1)
    return -torch.autograd.grad(loss, theta_SA)[0].flatten()


def off_its_line(found_D: Tensor, exact_D: Tensor) -> float:
    """Return the sine of the angle between the two: 0 where one is a multiple of the other."""
    return math.sqrt(max(0.0, 1 - torch.cosine_similarity(found_D, exact_D, dim=0).item() ** 2))


def agrees(estimates_ND: Tensor, exact_D: Tensor) -> bool:
    """Return whether the mean of N estimates is `exact_D`, within 4.5 standard errors in each coordinate.

    The standard errors together must be below 2% of the gradient: else the test could not fail.
    """
    errors_D = estimates_ND.std(dim=0) / math.sqrt(len(estimates_ND))
    power = (errors_D.norm() / exact_D.norm()).item()
    assert power < 0.02, f"the standard error is {power:.3f} of the gradient: draw more"
    return bool(((estimates_ND.mean(dim=0) - exact_D).abs() <= 4.5 * errors_D + 1e-12).all())


# ---- the gradient itself


def test_the_process_has_episodes_of_every_length_and_their_probabilities_sum_to_one() -> None:
    assert PROBS_E.sum().item() == pytest.approx(1.0, abs=1e-12)
    assert sorted(set(ALL.lengths_E.tolist())) == [1, 2, 3, 4]
    assert (ALL.last_states_E == END).any()
    assert (ALL.last_states_E != END).any()


@pytest.mark.parametrize("gamma", [1.0, 0.8])
def test_four_ways_to_the_exact_gradient_agree(gamma: float) -> None:
    """Sum of p grad log p R; autograd of the sum of p R; differences of J without a list of episodes."""
    exact_D = exact_gradient(gamma)
    returns_E = ALL.sums(ALL.rewards_B * gamma ** losses.ages(ALL.ends_B).double())
    theta_SA = THETA_SA.clone().requires_grad_()
    likelihood_ratio = torch.autograd.grad((PROBS_E * ALL.probs(theta_SA).log() * returns_E).sum(), theta_SA)[
        0
    ]
    torch.testing.assert_close(likelihood_ratio.flatten(), exact_D, atol=1e-12, rtol=0)
    through_probs = torch.autograd.grad((ALL.probs(theta_SA) * returns_E).sum(), theta_SA)[0]
    torch.testing.assert_close(through_probs.flatten(), exact_D, atol=1e-12, rtol=0)
    step = 1e-5
    for i, direction_D in enumerate(torch.eye(S * A, dtype=torch.float64)):
        up, down = (
            expected_return(THETA_SA + sign * step * direction_D.view(S, A), gamma).item() for sign in (1, -1)
        )
        assert (up - down) / (2 * step) == pytest.approx(exact_D[i].item(), abs=1e-8)


@estimators
@baselines
def test_every_estimator_has_the_gradient_as_its_mean(estimator: Estimator, baseline: str) -> None:
    """Problems 4a and 4b, for the code that is trained with."""
    found_D = expectation(estimator.weights(ALL, BASELINES_B[baseline]))
    torch.testing.assert_close(found_D, exact_gradient(estimator.gamma), atol=1e-6, rtol=0)


# ---- 4a and 4b, term by term


def test_an_action_is_not_to_be_credited_with_what_came_before_it() -> None:
    """E[grad log pi(a_t|s_t) r_k] is 0 for every k < t; for k >= t it is not."""
    ages_B = losses.ages(ALL.ends_B)
    index_B = torch.arange(len(ages_B))
    for t in range(HORIZON):
        for k in range(HORIZON):
            other_B = index_B - t + k  # the same episode's step k
            in_reach_B = (ages_B == t) & (k < ALL.lengths_E[ALL.episode_B])
            reward_B = torch.where(in_reach_B, ALL.rewards_B[other_B.clamp(0, len(ages_B) - 1)], 0.0)
            size = expectation(reward_B).norm().item()
            assert size < 1e-12 if k < t else size > 1e-2, (t, k)


@few_examples
@given(st.lists(st.floats(-10, 10), min_size=S * HORIZON, max_size=S * HORIZON))
def test_no_baseline_of_state_and_time_moves_the_mean(values: list[float]) -> None:
    baseline_TS = torch.tensor(values, dtype=torch.float64).view(HORIZON, S)
    moved_D = expectation(baseline_TS[losses.ages(ALL.ends_B), STATES_B])
    torch.testing.assert_close(moved_D, torch.zeros(S * A, dtype=torch.float64), atol=1e-12, rtol=0)


def test_a_baseline_of_the_action_moves_it_by_its_own_gradient() -> None:
    """The gradient of its mean, with given visits: sum over states of sum_a grad pi(a|s) b(s, a)."""
    theta_SA = THETA_SA.clone().requires_grad_()
    visits_S = ALL.sums(torch.nn.functional.one_hot(STATES_B, S).double()).T @ PROBS_E
    moves_D = torch.autograd.grad(
        (visits_S[:, None] * theta_SA.softmax(dim=1) * BASELINE_SA).sum(), theta_SA
    )[0].flatten()
    baseline_B = BASELINE_SA[STATES_B, ALL.actions_B]
    torch.testing.assert_close(expectation(baseline_B), moves_D, atol=1e-12, rtol=0)
    wrong_D = expectation(Estimator("reward_to_go", 1.0).weights(ALL, baseline_B))
    assert (wrong_D - exact_gradient(1.0)).norm() > 0.1 * exact_gradient(1.0).norm()


# ---- discounting


def usual_direction(theta_SA: Tensor, gamma: float = USUAL.gamma) -> Tensor:
    """Sum over steps of P(s_t = s) sum_a grad pi(a|s) Q(s, a), with Q discounted and visits not; [D]."""
    pi_SA, at_S = theta_SA.softmax(dim=1), START_S
    total_SA = torch.zeros(S, A, dtype=torch.float64)
    for q_SA in action_values(pi_SA, gamma):
        total_SA = total_SA + at_S[:, None] * pi_SA * (
            q_SA - (pi_SA * q_SA).sum(dim=1, keepdim=True)
        )  # pi = softmax(theta)
        at_S = ((at_S[:, None] * pi_SA)[:, :, None] * CHANCE_SAN).sum(dim=(0, 1))[:S]
    return total_SA.flatten()


@baselines
def test_without_discount_from_start_the_mean_is_another_direction(baseline: str) -> None:
    found_D = expectation(USUAL.weights(ALL, BASELINES_B[baseline]))
    torch.testing.assert_close(found_D, usual_direction(THETA_SA), atol=1e-6, rtol=0)
    for gamma in (USUAL.gamma, 1.0):
        exact_D = exact_gradient(gamma)
        assert (found_D - exact_D).norm() > 0.05 * exact_D.norm()
        assert off_its_line(found_D, exact_D) > 0.02  # nor is it a multiple


def test_that_direction_is_the_gradient_of_no_function() -> None:
    """A gradient's Jacobian, a matrix of second derivatives, would be symmetric; with gamma = 1 it is."""
    jacobian_DD, hessian_DD = (
        torch.autograd.functional.jacobian(
            lambda theta_SA, gamma=gamma: usual_direction(theta_SA, gamma), THETA_SA
        ).view(S * A, S * A)
        for gamma in (USUAL.gamma, 1.0)
    )
    assert (jacobian_DD - jacobian_DD.T).norm() > 0.01 * jacobian_DD.norm()
    torch.testing.assert_close(hessian_DD, hessian_DD.T, atol=1e-12, rtol=0)


def test_bootstrapping_a_time_limit_gives_the_first_steps_part_of_the_endless_gradient() -> None:
    """Sum over t < HORIZON of P(s_t = s) sum_a grad pi(a|s) Q(s, a); no time limit cuts the process of Q."""
    gamma, pi_SA = USUAL.gamma, THETA_SA.softmax(dim=1)
    reward_S = (pi_SA[:, :, None] * CHANCE_SAN * REWARD_SAN).sum(dim=(1, 2))
    step_SS = (pi_SA[:, :, None] * CHANCE_SAN).sum(dim=1)[:, :S]
    values_N = torch.zeros(S + 1, dtype=torch.float64)
    values_N[:S] = torch.linalg.solve(torch.eye(S, dtype=torch.float64) - gamma * step_SS, reward_S)
    q_SA = (CHANCE_SAN * (REWARD_SAN + gamma * values_N)).sum(dim=2)
    truncated_E = ALL.last_states_E != END
    last_values_E = torch.where(truncated_E, values_N[ALL.last_states_E], 99.0)  # 99: not to be used
    cut = replace(
        ALL, rewards_B=losses.bootstrapped(ALL.rewards_B, ALL.ends_B, truncated_E, last_values_E, gamma)
    )
    torch.testing.assert_close(
        expectation(USUAL.weights(cut)), expectation(q_SA[STATES_B, ALL.actions_B]), atol=1e-6, rtol=0
    )
    assert (expectation(USUAL.weights(ALL)) - expectation(USUAL.weights(cut))).norm() > 0.01


# ---- batches: what is divided by, and which episodes are in them


SHORT = every_episode(horizon=2)


def split(weights_B: Tensor, pairs: Episodes) -> tuple[Tensor, ...]:
    return weights_B.split((pairs.episode_B // 2).bincount().tolist())


def less_own_mean(weights_B: Tensor, pairs: Episodes) -> Tensor:
    """Less the mean return of the pair's two episodes."""
    return weights_B - (pairs.sums(pairs.rewards_B).view(-1, 2).mean(dim=1))[pairs.episode_B // 2]


def of_first_to_end(weights_B: Tensor, pairs: Episodes) -> Tensor:
    first_P = pairs.lengths_E.view(-1, 2).argmin(dim=1)
    return weights_B * (pairs.episode_B % 2 == first_P[pairs.episode_B // 2])


def over_num_steps(weights_B: Tensor, pairs: Episodes) -> Tensor:
    return torch.cat([weights / len(weights) for weights in split(weights_B, pairs)])


def normalized(weights_B: Tensor, pairs: Episodes) -> Tensor:
    return torch.cat([losses.normalized(weights) / 2 for weights in split(weights_B, pairs)])


OF_PAIRS: dict[str, tuple[Callable[[Tensor, Episodes], Tensor], float | None]] = {
    "over the number of episodes": (lambda weights_B, pairs: weights_B / 2, 1.0),
    "less the batch's own mean return": (lambda weights_B, pairs: less_own_mean(weights_B, pairs) / 2, 0.5),
    "over the number of steps that came": (over_num_steps, None),
    "normalised": (normalized, None),
    "the first to end": (of_first_to_end, None),
}
"""A normalisation of two episodes' weights, and the multiple of the gradient that its mean is, or None."""


@pytest.mark.parametrize("how", OF_PAIRS)
def test_the_mean_over_all_batches_of_two(how: str) -> None:
    """A batch's own mean return contains each episode's. Of E episodes, the gradient loses 1 / E."""
    weigh, multiple = OF_PAIRS[how]
    pairs = SHORT.picked(torch.cartesian_prod(*[torch.arange(len(SHORT.chance_E))] * 2).flatten())
    chances_P = pairs.probs().view(-1, 2).prod(dim=1)
    weights_B = weigh(TO_GO.weights(pairs), pairs)
    found_D = ((weights_B * chances_P[pairs.episode_B // 2])[:, None] * pairs.scores()).sum(dim=0)
    exact_D = expectation(TO_GO.weights(SHORT), SHORT)
    if multiple is not None:
        torch.testing.assert_close(found_D, multiple * exact_D, atol=1e-9, rtol=0)
    else:
        assert off_its_line(found_D, exact_D) > 0.02


# ---- draws


NUM_DRAWN = 40_000


@estimators
@baselines
def test_the_mean_over_many_episodes_is_the_gradient(estimator: Estimator, baseline: str) -> None:
    estimates_ED = ALL.estimates(estimator.weights(ALL, BASELINES_B[baseline]))
    assert agrees(estimates_ED[ALL.drawn(NUM_DRAWN, seed=0)], exact_gradient(estimator.gamma))


@estimators
def test_a_baseline_of_the_action_is_caught(estimator: Estimator) -> None:
    estimates_ED = ALL.estimates(estimator.weights(ALL, BASELINE_SA[STATES_B, ALL.actions_B]))
    assert not agrees(estimates_ED[ALL.drawn(NUM_DRAWN, seed=0)], exact_gradient(estimator.gamma))


def test_a_discount_that_forgets_the_steps_age_is_caught() -> None:
    assert not agrees(
        ALL.estimates(USUAL.weights(ALL))[ALL.drawn(NUM_DRAWN, seed=0)], exact_gradient(USUAL.gamma)
    )


@pytest.mark.parametrize("first_to_end", [False, True])
def test_the_first_of_parallel_episodes_to_end_are_caught(first_to_end: bool) -> None:
    """Eight environments, batches of four episodes: four named beforehand, or the first four to end."""
    of_env_NV = ALL.drawn(8 * NUM_DRAWN // 4, seed=1).view(-1, 8)
    if first_to_end:
        order_NV = ALL.lengths_E[of_env_NV].argsort(dim=1, stable=True)
        of_env_NV = of_env_NV.gather(1, order_NV)
    batches_ND = ALL.estimates(TO_GO.weights(ALL))[of_env_NV[:, :4]].mean(dim=1)
    assert agrees(batches_ND, exact_gradient(1.0)) != first_to_end


# ---- variances: the trace of the covariance of an episode's estimate


def variance(weights_B: Tensor) -> float:
    estimates_ED = ALL.estimates(weights_B)
    mean_D = PROBS_E @ estimates_ED
    return (PROBS_E @ (estimates_ED - mean_D).square().sum(dim=1)).item()


def best_baseline(estimator: Estimator) -> tuple[Tensor, Tensor]:
    """b*(s) = E[sum over visits of score . estimate] / m(s), m(s) = E[sum over visits of |score|^2]; [S]."""
    scores_BD = ALL.scores() * estimator.discounts(ALL)[:, None]
    of_state_BS = torch.nn.functional.one_hot(STATES_B, S).double()
    along_B = (scores_BD * ALL.estimates(estimator.weights(ALL))[ALL.episode_B]).sum(dim=1)
    weight_S = PROBS_E @ ALL.sums(of_state_BS * scores_BD.square().sum(dim=1, keepdim=True))
    return PROBS_E @ ALL.sums(of_state_BS * along_B[:, None]) / weight_S, weight_S


def state_values(estimator: Estimator) -> Tensor:
    """What a value network is fitted to: the mean return over all visits of a state; [S]."""
    of_state_BS, chances_B = torch.nn.functional.one_hot(STATES_B, S).double(), PROBS_E[ALL.episode_B]
    return (chances_B * estimator.returns(ALL)) @ of_state_BS / (chances_B @ of_state_BS)


@few_examples
@given(st.sampled_from([*UNBIASED, USUAL]), st.lists(st.floats(-10, 10), min_size=S, max_size=S))
def test_a_baselines_variance_is_the_least_one_plus_its_squared_distance(
    estimator: Estimator, values: list[float]
) -> None:
    """So the best baseline is never worse than none, nor is any between none and twice the best."""
    baseline_S = torch.tensor(values, dtype=torch.float64)
    best_S, weight_S = best_baseline(estimator)
    least = variance(estimator.weights(ALL, best_S[STATES_B]))
    distance = (weight_S * (baseline_S - best_S).square()).sum().item()
    assert variance(estimator.weights(ALL, baseline_S[STATES_B])) == pytest.approx(least + distance, rel=1e-6)


def test_the_three_estimators_are_ordered_here_exactly_and_in_draws() -> None:
    """This holds for this process and policy, and is no theorem; the next tests show what is one."""
    total_B, to_go_B = TOTAL.weights(ALL), TO_GO.weights(ALL)
    by_weights = {
        "total return": total_B,
        "reward to go": to_go_B,
        "less state values": to_go_B - state_values(TO_GO)[STATES_B],
        "less the best baseline": to_go_B - best_baseline(TO_GO)[0][STATES_B],
    }
    exact = [variance(weights_B) for weights_B in by_weights.values()]
    assert exact[0] > 1.1 * exact[1] > 1.1**2 * exact[2] > 1.1**2 * exact[3]
    drawn_N = ALL.drawn(NUM_DRAWN, seed=2)
    found = [ALL.estimates(weights_B)[drawn_N].var(dim=0).sum().item() for weights_B in by_weights.values()]
    assert found == pytest.approx(exact, rel=0.03)


def test_dropping_past_rewards_lowers_every_terms_variance_where_no_reward_is_negative() -> None:
    episodes = replace(ALL, rewards_B=ALL.rewards_B + 1.0)  # the least is -1
    assert episodes.rewards_B.min() >= 0
    total_B, to_go_B = (estimator.weights(episodes) for estimator in (TOTAL, TO_GO))
    for t in range(1, HORIZON):
        of_step_B = losses.ages(ALL.ends_B) == t
        assert variance(to_go_B * of_step_B) < variance(total_B * of_step_B)


def test_dropping_past_rewards_can_add_variance() -> None:
    """If every episode's return is 0, the total return is never wrong; the reward to go can be anything."""
    potential = torch.tensor(
        [0.0, 0.0, 2.0, 0.0], dtype=torch.float64
    )  # of the states, and of END; 0 at the time limit, too
    next_B = torch.where(ALL.ends_B, END, STATES_B.roll(-1))
    episodes = replace(ALL, rewards_B=potential[next_B] - potential[STATES_B])
    assert variance(TOTAL.weights(episodes)) == pytest.approx(0.0, abs=1e-20)
    assert variance(TO_GO.weights(episodes)) > 0.1


# ---- end to end: environment, env runner, learner


OBS = np.eye(S + 1, S, dtype=np.float32)
"""By state; nothing is shown of END."""


class Process(gym.Env[np.ndarray, int]):
    """The process above, as an environment."""

    observation_space = Box(0, 1, (S,), np.float32)
    action_space: gym.Space[Any] = Discrete(A)

    def __init__(self, env_config: dict[str, Any]) -> None:
        self._state = self._steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._state, self._steps = self._draw(STARTS), 0
        return self._obs(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        next_state = self._draw(TRANSITIONS[self._state, int(action)])
        earned, self._state = reward(self._state, int(action), next_state), next_state
        self._steps += 1
        return self._obs(), earned, next_state == END, self._steps == HORIZON and next_state != END, {}

    def _draw(self, chances: dict[int, float]) -> int:
        number = self.np_random.random()
        for outcome, p in chances.items():
            number -= p
            if number < 0:
                return outcome
        return outcome

    def _obs(self) -> np.ndarray:
        return OBS[self._state]


OPTIONS: dict[str, dict[str, Any]] = {
    "total return less its running mean": {
        "estimator": "total_return",
        "gamma": 0.8,
        "baseline": "running_mean",
        "running_mean_decay": 0.0,
    },
    "reward to go": {"gamma": 1.0, "baseline": "none"},
    "reward to go less values": {
        "gamma": 0.8,
        "discount_from_start": True,
        "baseline": "value",
        "num_vf_updates": 3,
        "vf_lr": 0.1,
    },
}
NUM_BATCHES = 1500


@pytest.fixture(scope="module")
def build(ray_address: str) -> Iterator[Callable[..., REINFORCE]]:
    """Build algorithms with a table for a policy, at THETA_SA."""
    algorithms: list[REINFORCE] = []

    def built(num_envs: int = 6, **options: Any) -> REINFORCE:
        config = (
            REINFORCEConfig()
            .environment(Process)
            .env_runners(num_env_runners=0, num_envs_per_env_runner=num_envs)
        )
        algorithms.append(config.training(fcnet_hiddens=(), **options).debugging(seed=0).build_algo())
        layer = algorithms[-1].learner_group._learner.policy_module.pi.layers[0]
        with torch.no_grad():
            layer.weight.copy_(THETA_SA.T)
            layer.bias.zero_()
        return algorithms[-1]

    yield built
    for algorithm in algorithms:
        algorithm.stop()


def played(algorithm: REINFORCE) -> list[Any]:
    """Return NUM_BATCHES batches, played by the algorithm's own runner."""
    runner = algorithm.env_runner_group.local_env_runner
    weights = algorithm.learner_group._learner.policy_module.get_state(inference_only=True)
    batches = []
    for number in range(NUM_BATCHES):
        (request,) = algorithm.config.requests(number, entropy=0)
        rollout = runner.collect(0, weights, 1, request)
        assert not rollout.error
        batches.append(rollout.batch)
    return batches


@pytest.fixture(scope="module")
def by_episodes(build: Callable[..., REINFORCE]) -> list[Any]:
    """Batches of 8 episodes: of 6 environments, two play a second one."""
    return played(build(num_episodes_per_train_batch=8))


@pytest.fixture(scope="module")
def by_steps(build: Callable[..., REINFORCE]) -> list[Any]:
    """Batches of 12 steps or more, of 3 environments."""
    return played(build(num_envs=3, num_episodes_per_train_batch=1, train_batch_size_per_learner=12))


def learned_from(algorithm: REINFORCE, batches: list[Any], fit_first: bool = False) -> tuple[Tensor, Tensor]:
    """Return the learner's gradients [N, D] and episode counts [N] by batch; only the baseline learns."""
    learner = algorithm.learner_group._learner
    module, gradients, nums_episodes = learner.policy_module, [], []
    for played_batch in batches:
        batch = {name: torch.from_numpy(array) for name, array in played_batch.whole_episodes().items()}
        learner._add_advantages(batch)
        learner._batch = batch
        if fit_first:
            learner.fit_baseline()
            learner._add_advantages(batch)
        fwd_out = module._forward_train(batch)
        loss = learner.compute_loss_for_module(
            module_id="default_policy", config=learner.config, batch=batch, fwd_out=fwd_out
        )
        (gradient,) = torch.autograd.grad(loss, [module.pi.layers[0].weight])
        gradients.append(-gradient.T.flatten().double())
        nums_episodes.append(len(batch["truncated"]))
        if not fit_first:
            learner.fit_baseline()
    return torch.stack(gradients), torch.tensor(nums_episodes)


@pytest.mark.parametrize("options", OPTIONS)
def test_the_learners_gradient_is_the_exact_one(
    build: Callable[..., REINFORCE], by_episodes: list[Any], options: str
) -> None:
    algorithm = build(num_episodes_per_train_batch=8, **OPTIONS[options])
    gradients_ND, nums_episodes_N = learned_from(algorithm, by_episodes)
    assert (nums_episodes_N == 8).all()
    assert agrees(gradients_ND, exact_gradient(OPTIONS[options]["gamma"]))


@pytest.mark.parametrize("options", ["total return less its running mean", "reward to go less values"])
def test_a_batch_by_steps_gives_the_gradient_times_its_mean_number_of_episodes(
    build: Callable[..., REINFORCE], by_steps: list[Any], options: str
) -> None:
    """Wald's equation: the number of episodes depends on their lengths, yet the surplus has mean 0."""
    algorithm = build(num_episodes_per_train_batch=1, train_batch_size_per_learner=12, **OPTIONS[options])
    gradients_ND, nums_episodes_N = learned_from(algorithm, by_steps)
    assert len(nums_episodes_N.unique()) >= 3
    assert all(batch.env_steps() >= 12 for batch in by_steps)
    exact_D = exact_gradient(OPTIONS[options]["gamma"])
    mean_episodes = nums_episodes_N.double().mean()
    left_ND = gradients_ND * 12 / mean_episodes - exact_D * (nums_episodes_N / mean_episodes)[:, None]
    assert agrees(left_ND + exact_D, exact_D)


def test_a_baseline_fitted_to_the_batch_beforehand_is_caught(
    build: Callable[..., REINFORCE], by_episodes: list[Any]
) -> None:
    algorithm = build(
        num_episodes_per_train_batch=8, gamma=1.0, baseline="running_mean", running_mean_decay=0.0
    )
    gradients_ND, _ = learned_from(algorithm, by_episodes, fit_first=True)
    assert not agrees(gradients_ND, exact_gradient(1.0))
