"""The networks of all RL algorithms: action values, a categorical and a Gaussian policy, state values.

Mnih+ 2015 (doi:10.1038/nature14236), for vectors instead of images; Williams 1992
(doi:10.1007/BF00992696), sections 4 and 6. B batch, S size of an observation, A actions, or the size of an
action. Observations may have any shape [B, ...]."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "silu": nn.SiLU}


def mlp(input_size: int, hiddens: Sequence[int], output_size: int, activation: str) -> nn.Sequential:
    """Return fully connected layers of these sizes, with the nonlinearity between them."""
    layers: list[nn.Module] = []
    size = input_size
    for hidden in hiddens:
        layers += [nn.Linear(size, hidden), ACTIVATIONS[activation]()]
        size = hidden
    return nn.Sequential(*layers, nn.Linear(size, output_size))


def as_vectors(obs: Tensor) -> Tensor:
    """Return observations [B, ...] as float vectors [B, S]; bytes become fractions of 255."""
    obs = obs.reshape(len(obs), -1)
    return obs.float() / 255 if obs.dtype == torch.uint8 else obs.float()


class QNetwork(nn.Module):
    """Fully connected layers from an observation to the value of every action."""

    def __init__(self, obs_size: int, num_actions: int, hiddens: Sequence[int], activation: str) -> None:
        super().__init__()
        self.layers = mlp(obs_size, hiddens, num_actions, activation)

    def forward(self, obs_BS: Tensor) -> Tensor:
        """Return Q(s, a); [B, A]."""
        q_BA: Tensor = self.layers(as_vectors(obs_BS))
        return q_BA

    def greedy(self, obs_BS: Tensor) -> Tensor:
        """Return the actions with the highest values; int64 [B]."""
        return self(obs_BS).argmax(dim=1)  # type: ignore[no-any-return]


class CategoricalPolicy(nn.Module):
    """Fully connected layers from an observation to the logits of the actions."""

    def __init__(self, obs_size: int, num_actions: int, hiddens: Sequence[int], activation: str) -> None:
        super().__init__()
        self.layers = mlp(obs_size, hiddens, num_actions, activation)
        shrink(self.layers)

    def forward(self, obs_BS: Tensor) -> Tensor:
        """Return the logits [B, A]."""
        logits_BA: Tensor = self.layers(as_vectors(obs_BS))
        return logits_BA

    def greedy(self, obs_BS: Tensor) -> Tensor:
        """Return the most likely actions; int64 [B]."""
        return self(obs_BS).argmax(dim=1)  # type: ignore[no-any-return]

    def sample(self, obs_BS: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return actions drawn from the policy; int64 [B].

        argmax_a of logit_a - log Exponential(1) is action a with its probability.
        """
        logits_BA = self(obs_BS)
        noise_BA = torch.empty_like(logits_BA).exponential_(generator=generator).log()
        actions_B: Tensor = (logits_BA - noise_BA).argmax(dim=1)
        return actions_B

    def log_probs_and_entropies(self, obs_BS: Tensor, actions_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return log pi(a|s) [B] and the entropies of pi(.|s) [B], in nats."""
        log_probs_BA = self(obs_BS).log_softmax(dim=1)
        entropies_B = -(log_probs_BA.exp() * log_probs_BA).sum(dim=1)
        return log_probs_BA.gather(1, actions_B.long().unsqueeze(1)).squeeze(1), entropies_B


class GaussianPolicy(nn.Module):
    """Fully connected layers from an observation to the mean action; one deviation for all states."""

    def __init__(
        self,
        obs_size: int,
        action_size: int,
        hiddens: Sequence[int],
        activation: str,
        initial_log_std: float = 0.0,
    ) -> None:
        super().__init__()
        self.layers = mlp(obs_size, hiddens, action_size, activation)
        self.log_std = nn.Parameter(torch.full((action_size,), float(initial_log_std)))
        shrink(self.layers)

    def forward(self, obs_BS: Tensor) -> Tensor:
        """Return the means [B, A]."""
        mean_BA: Tensor = self.layers(as_vectors(obs_BS))
        return mean_BA

    def greedy(self, obs_BS: Tensor) -> Tensor:
        """Return the means [B, A]."""
        return self(obs_BS)  # type: ignore[no-any-return]

    def sample(self, obs_BS: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return actions drawn from the policy; [B, A]."""
        mean_BA: Tensor = self(obs_BS)
        noise_BA = torch.empty_like(mean_BA).normal_(generator=generator)
        return mean_BA + self.log_std.exp() * noise_BA

    def log_probs_and_entropies(self, obs_BS: Tensor, actions_BA: Tensor) -> tuple[Tensor, Tensor]:
        """Return log pi(a|s) [B] and the entropies of pi(.|s) [B], in nats."""
        scaled_BA = (actions_BA - self(obs_BS)) / self.log_std.exp()
        log_probs_B = (-0.5 * scaled_BA.square() - self.log_std - 0.5 * math.log(2 * math.pi)).sum(dim=1)
        entropy = (self.log_std + 0.5 * math.log(2 * math.pi * math.e)).sum()
        return log_probs_B, entropy.expand(len(log_probs_B))


def shrink(layers: nn.Sequential) -> None:
    """Make the last layer's weights small, so that the first policy prefers no action."""
    last = layers[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight.mul_(0.01)
        last.bias.zero_()


class ValueNetwork(nn.Module):
    """Fully connected layers from an observation to the expected return."""

    def __init__(self, obs_size: int, hiddens: Sequence[int], activation: str) -> None:
        super().__init__()
        self.layers = mlp(obs_size, hiddens, 1, activation)

    def forward(self, obs_BS: Tensor) -> Tensor:
        """Return V(s); [B]."""
        value_B: Tensor = self.layers(as_vectors(obs_BS)).squeeze(1)
        return value_B
