"""The base of the generative trainers: seeds, precision, averaging, training, evaluation, checkpoints.

A third model subclasses `GenerativeTrainer` and defines `metrics`, `build`, `update` and `sample`. What else
it meets:

- Its options inherit `GenerativeOptions`. `options.num_train(N)` says how many of N digits it trains on.
- Pictures are also drawn before any training. Pictures and scores use the same noise at every call.
- Checkpoints are loaded with `weights_only=True`. A state holds tensors, numbers, strings, lists and dicts.
- `samples` in its sampling.py draws digits from such a state; generative/sampling.py describes it.
- Its row in workflows/programs.py names all of these. Only a model with labels lists `conditional_accuracy`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import deepcopy
from dataclasses import asdict
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from algorithms.generative.images import grid
from algorithms.generative.minibatches import Minibatches, resident
from algorithms.generative.options import GenerativeOptions
from algorithms.generative.precision import autocast, choose_precision
from algorithms.generative.training_loop import run_updates
from algorithms.scoring import Scorer

GRID_SIDE = 8

OptionsT = TypeVar("OptionsT", bound=GenerativeOptions)
NetworkT = TypeVar("NetworkT", bound=nn.Module)
ModuleT = TypeVar("ModuleT", bound=nn.Module)


class TrainingData(Protocol):
    """What a trainer reads of its data. `algorithms.mnist.MNIST` has it; data of your own needs it too."""

    @property
    def name(self) -> str:
        """Which data: a column of every result."""
        ...

    @property
    def train_images(self) -> np.ndarray:
        """uint8 [N, 28, 28], ink 255; may be read-only, as arrays in Ray's object store are."""
        ...

    @property
    def train_labels(self) -> np.ndarray:
        """int64 [N], classes 0 to 9."""
        ...


class GenerativeTrainer(ABC, Generic[OptionsT, NetworkT]):
    """A generative model in training. It neither reads nor seeds the global random state."""

    metrics: ClassVar[tuple[str, ...]]
    """Names of the numbers that `update` returns, in order."""
    network_name: ClassVar[str] = "network"
    """The sampled network's name in a checkpoint; its average has the prefix `averaged_`."""

    def __init__(
        self, options: OptionsT, data: TrainingData, device: str | torch.device = "cpu", seed: int = 0
    ) -> None:
        self.options = options
        self.updates = 0
        self.device = torch.device(device)
        self.precision = choose_precision(options.precision, self.device)
        self.digits = resident(data.train_images, self.device)
        self.labels = resident(data.train_labels, self.device)
        seeds = np.random.SeedSequence(seed).generate_state(4).tolist()
        init_seed, order_seed, noise_seed, self._evaluation_seed = seeds
        num_train = options.num_train(len(self.digits))
        self.minibatches = Minibatches(num_train, options.batch_size, self.device, order_seed)
        self.noise_generator = torch.Generator(self.device).manual_seed(noise_seed)
        self.scorer = Scorer(self.device)
        # Weights are drawn on the processor, so that a seed gives the same weights on every device.
        self.network, others = self.build(torch.Generator().manual_seed(init_seed))
        self._average = deepcopy(self.network).eval().requires_grad_(False)
        self._parts: dict[str, Any] = {
            self.network_name: self.network,
            f"averaged_{self.network_name}": self._average,
            **others,
            "minibatches": self.minibatches,
        }

    @abstractmethod
    def build(self, init: torch.Generator) -> tuple[NetworkT, dict[str, nn.Module | torch.optim.Optimizer]]:
        """Return the network that draws samples, and the other networks and optimizers by name.

        Draw the weights from `init`, on the processor; then move each network to the device with `placed`.
        """

    @abstractmethod
    def update(self) -> Tensor:
        """Do one update on the digits `self.minibatches.next()`; return the metrics, without a gradient."""

    @abstractmethod
    def sample(self, network: NetworkT, num: int, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """Return `num` digits, uint8 [num, 28, 28] with ink 255, and their labels, int64 [num] or None."""

    def measure(self, network: NetworkT, num_samples: int, generator: torch.Generator) -> dict[str, float]:
        """Return the metrics of an evaluation; by default `Scorer.score` of `num_samples` samples."""
        return self.scorer.score(*self.sample(network, num_samples, generator))

    def draw(self, network: NetworkT, generator: torch.Generator) -> dict[str, np.ndarray]:
        """Return uint8 pictures [H, W] by name; every model has `samples`, by default a page of 64 digits."""
        images, _ = self.sample(network, GRID_SIDE**2, generator)
        return {"samples": grid(images.cpu().numpy(), GRID_SIDE)}

    def train(self, num_updates: int) -> dict[str, float]:
        """Do the updates; return the mean of each metric. Raises TrainingDiverged; see `run_updates`."""
        return run_updates(self._update_and_average, num_updates, self.metrics, self.updates + 1)

    def evaluate(self, num_samples: int) -> dict[str, float]:
        """Score the averaged network on samples from the same noise at every call; see `measure`."""
        return self.measure(self.averaged_network, num_samples, self._evaluation_generator())

    def pictures(self) -> dict[str, np.ndarray]:
        """Draw pictures with the averaged network, from the same noise at every call; see `draw`."""
        return self.draw(self.averaged_network, self._evaluation_generator())

    def state_dict(self) -> dict[str, Any]:
        """Return what training needs to continue exactly: tensors, numbers, strings, lists and dicts."""
        parts = self._parts | {f"averaged_{self.network_name}": self.averaged_network}
        return {
            "options": asdict(self.options),
            "updates": self.updates,
            **{name: part.state_dict() for name, part in parts.items()},
            "noise_state": self.noise_generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken; build the trainer with the same options and data before."""
        for name, part in self._parts.items():
            part.load_state_dict(state[name])
        self.noise_generator.set_state(state["noise_state"].cpu())
        self.updates = state["updates"]

    @property
    def averaged_network(self) -> NetworkT:
        """The averaged network; without averaging a copy of the network as it is.

        The copy is made when it is looked at, which is cheaper than at every update.
        """
        if not self.options.ema_decay:
            average_into(self._average, self.network, 0.0, self.updates)
        return self._average

    def placed(self, network: ModuleT) -> ModuleT:
        """Move a network to the device, with its convolutions in the memory layout that is fastest."""
        return network.to(self.device).to(memory_format=torch.channels_last)

    def autocast(self) -> torch.autocast:
        """Return the context in which networks multiply in the trainer's precision."""
        return autocast(self.device, self.precision)

    def _update_and_average(self) -> Tensor:
        metrics = self.update()
        self.updates += 1
        if self.options.ema_decay:
            average_into(self._average, self.network, self.options.ema_decay, self.updates)
        return metrics

    def _evaluation_generator(self) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(self._evaluation_seed)


def step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """Do one step of an optimizer down the gradient of `loss`."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


@torch.no_grad()
def average_into(average: nn.Module, network: nn.Module, decay: float, updates: int) -> None:
    """Move `average` towards `network`: a <- d a + (1 - d) n. Polyak & Juditsky 1992.

    d = min(decay, (1 + updates) / (10 + updates)), which soon forgets the initial weights. `updates` counts
    from 1. Decay 0 copies.
    """
    d = min(decay, (1 + updates) / (10 + updates))
    for a, n in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if a.is_floating_point():
            a.lerp_(n, 1 - d)
