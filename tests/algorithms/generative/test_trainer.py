"""The base of the generative trainers: what a third model gets from it, and what checkpoints hold."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from algorithms import mnist
from algorithms.cvae import CVAEOptions, CVAETrainer
from algorithms.gan import GANOptions, GANTrainer
from algorithms.generative.options import GenerativeOptions
from algorithms.generative.trainer import GenerativeTrainer, average_into, step


@dataclass(frozen=True)
class MeanOptions(GenerativeOptions):
    latent_size: int = 1
    batch_size: int = 16
    lr: float = 0.5


class Mean(nn.Module):
    """One weight: the grey level of every pixel of every sample, from 0 to 1."""

    def __init__(self) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.zeros(()))


class MeanTrainer(GenerativeTrainer[MeanOptions, Mean]):
    """The smallest generative model: it learns the mean grey level of the digits."""

    metrics = ("loss",)

    def build(self, init: torch.Generator) -> tuple[Mean, dict[str, nn.Module | torch.optim.Optimizer]]:
        network = self.placed(Mean())
        nn.init.uniform_(network.level, generator=init)
        self.optimizer = torch.optim.SGD(network.parameters(), self.options.lr)
        return network, {"optimizer": self.optimizer}

    def update(self) -> Tensor:
        real = self.digits[self.minibatches.next()].float() / 255
        loss = (self.network.level - real.mean()).square()
        step(self.optimizer, loss)
        return loss.detach()[None]

    def sample(self, network: Mean, num: int, generator: torch.Generator) -> tuple[Tensor, None]:
        noise = torch.rand(num, 28, 28, generator=generator)
        return ((network.level + noise / 10).clamp(0, 1) * 255).to(torch.uint8), None


@dataclass(frozen=True)
class OwnData:
    """Data of a user's own: three attributes, and nothing else."""

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray


def own_data(level: int, num: int = 64) -> OwnData:
    return OwnData("own", np.full((num, 28, 28), level, np.uint8), np.zeros(num, np.int64))


def test_a_third_model_trains_on_data_of_its_own() -> None:
    trainer = MeanTrainer(MeanOptions(), own_data(51))
    first = trainer.train(1)["loss"]
    assert trainer.train(20)["loss"] < first
    assert trainer.updates == 21
    assert trainer.network.level.item() == pytest.approx(0.2)


def test_scores_and_pictures_come_before_any_training_too_and_repeat(digits: mnist.MNIST) -> None:
    trainer = MeanTrainer(MeanOptions(), digits)
    page = trainer.pictures()["samples"]
    assert (page.shape, page.dtype) == ((8 * 29 + 1, 8 * 29 + 1), np.uint8)
    assert np.array_equal(page, trainer.pictures()["samples"])
    assert trainer.evaluate(20) == trainer.evaluate(20)


def test_a_seed_gives_the_weights_and_the_order_of_digits(digits: mnist.MNIST) -> None:
    first, again, other = (MeanTrainer(MeanOptions(), digits, seed=seed) for seed in (0, 0, 1))
    assert first.network.level == again.network.level != other.network.level
    batches = [trainer.minibatches.next() for trainer in (first, again, other)]
    assert torch.equal(batches[0], batches[1])
    assert not torch.equal(batches[0], batches[2])


def test_a_batch_larger_than_the_data_is_refused() -> None:
    with pytest.raises(ValueError, match=r"batch_size must be at most .* \(9\), got 16"):
        MeanTrainer(MeanOptions(), own_data(51, num=9))


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_a_checkpoint_loads_without_running_code_and_continues_exactly(
    digits: mnist.MNIST, tmp_path: Path, ema_decay: float
) -> None:
    options = MeanOptions(ema_decay=ema_decay)
    trainer = MeanTrainer(options, digits)
    trainer.train(3)
    torch.save(trainer.state_dict(), tmp_path / "state.pt")
    continued = MeanTrainer(options, digits, seed=1)
    continued.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert continued.updates == 3
    assert continued.train(4) == trainer.train(4)
    assert continued.averaged_network.level == trainer.averaged_network.level
    assert (continued.averaged_network.level == continued.network.level) == (ema_decay == 0)


SMALL: dict[str, Any] = {"width": 4, "latent_size": 3, "batch_size": 16}


def test_checkpoints_keep_the_keys_that_earlier_versions_wrote(digits: mnist.MNIST) -> None:
    common = {"options", "updates", "minibatches", "noise_state"}
    gan = {"generator", "averaged_generator", "discriminator"} | {
        "generator_optimizer",
        "discriminator_optimizer",
    }
    assert GANTrainer(GANOptions(**SMALL), digits).state_dict().keys() == common | gan
    cvae = {"network", "averaged_network", "optimizer"}
    assert CVAETrainer(CVAEOptions(**SMALL), digits).state_dict().keys() == common | cvae


def test_an_average_moves_by_hand_and_forgets_its_start_soon() -> None:
    """At update 1 the decay is 2/11 at most, at update 1000 as asked."""
    average, network = Mean(), Mean()
    nn.init.ones_(network.level)
    average_into(average, network, 0.9, updates=1)
    assert average.level.item() == pytest.approx(9 / 11)
    average_into(average, network, 0.9, updates=1000)
    assert average.level.item() == pytest.approx(1 - 0.9 * 2 / 11)
    average_into(average, network, 0.0, updates=1000)
    assert average.level.item() == 1
