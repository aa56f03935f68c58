"""The policy for vectors: probabilities of discrete actions, or a diagonal Gaussian; and the value network of the baseline.

Williams 1992 (doi:10.1007/BF00992696), sections 4 and 6. B batch, S size of an observation, A actions, or the size of an action."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from algorithms.rl.mlp import as_vectors, mlp


class CategoricalPolicy(nn.Module):
    """Fully connected layers from an observation to the logits of the actions."""

    def __init__(self, obs_size: int, num_actions: int, hiddens: Sequence[int], activation: str) -> None:
        super().__init__()
        self.layers = mlp(obs_size, hiddens, num_actions, activation)
        shrink(self.layers)

    def forward(self, obs_BS: Tensor) -> Tensor:
        """Return the logits [B, A]. Observations of any shape count as vectors, bytes as fractions of 255."""
        logits_BA: Tensor = self.layers(as_vectors(obs_BS))
        return logits_BA

    def greedy(self, obs_BS: Tensor) -> Tensor:
        """Return the likeliest actions; int64 [B]."""
        return self(obs_BS).argmax(dim=1)  # type: ignore[no-any-return]

    def sample(self, obs_BS: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return actions drawn from the policy; int64 [B]. The largest of logit - log Exponential(1) is action a with probability p_a."""
        logits_BA = self(obs_BS)
        actions_B: Tensor = (
            logits_BA - torch.empty_like(logits_BA).exponential_(generator=generator).log()
        ).argmax(dim=1)
        return actions_B

    def log_probs_and_entropies(self, obs_BS: Tensor, actions_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return log pi(a|s) [B] and the entropies of pi(.|s) [B], in nats."""
        log_probs_BA = self(obs_BS).log_softmax(dim=1)
        entropies_B = -(log_probs_BA.exp() * log_probs_BA).sum(dim=1)
        return log_probs_BA.gather(1, actions_B.long().unsqueeze(1)).squeeze(1), entropies_B


class GaussianPolicy(nn.Module):
    """Fully connected layers from an observation to the mean of an action; one standard deviation for all states is learned beside it."""

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
        """Return the means [B, A]. Observations of any shape count as vectors, bytes as fractions of 255."""
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
    """Make the last layer's weights small, so that learning begins with a policy that prefers nothing."""
    last = layers[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight.mul_(0.01)
        last.bias.zero_()


class ValueNetwork(nn.Module):
    """Fully connected layers from an observation to the return that is expected there."""

    def __init__(self, obs_size: int, hiddens: Sequence[int], activation: str) -> None:
        super().__init__()
        self.layers = mlp(obs_size, hiddens, 1, activation)

    def forward(self, obs_BS: Tensor) -> Tensor:
        """Return V(s); [B]."""
        value_B: Tensor = self.layers(as_vectors(obs_BS)).squeeze(1)
        return value_B
