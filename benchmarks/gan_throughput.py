"""Images per second of our DCGAN trainer, against the PyTorch examples' loop with the same networks."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import torch
from digits import Digits
from side_by_side import side_by_side
from torch import nn
from torch.utils.data import DataLoader

from algorithms import mnist
from algorithms.gan.networks import Discriminator, Generator
from algorithms.gan.options import GANOptions
from algorithms.gan.trainer import GANTrainer

OPTIONS = GANOptions()


class PlainLoop:
    """The loop of pytorch/examples' dcgan with our networks: DataLoader, fp32, eager, Adam."""

    def __init__(self, data: mnist.MNIST) -> None:
        self._generator = Generator(OPTIONS.latent_size, OPTIONS.width)
        self._discriminator = Discriminator(OPTIONS.width)
        betas = (OPTIONS.beta1, OPTIONS.beta2)
        self._generator_optimizer = torch.optim.Adam(
            self._generator.parameters(), OPTIONS.generator_lr, betas
        )
        self._discriminator_optimizer = torch.optim.Adam(
            self._discriminator.parameters(), OPTIONS.discriminator_lr, betas
        )
        self._loss = nn.BCEWithLogitsLoss()
        self._batches = self._forever(
            DataLoader(Digits(data, signed=True), OPTIONS.batch_size, shuffle=True, drop_last=True)
        )

    @staticmethod
    def _forever(loader: DataLoader[tuple[torch.Tensor, int]]) -> Iterator[torch.Tensor]:
        while True:
            for real, _ in loader:
                yield real

    def train(self, num_updates: int) -> None:
        for _ in range(num_updates):
            real = next(self._batches)
            ones, zeros = torch.ones(len(real)), torch.zeros(len(real))
            self._discriminator_optimizer.zero_grad()
            self._loss(self._discriminator(real), ones).backward()
            fake = self._generator(torch.rand(len(real), OPTIONS.latent_size) * 2 - 1)
            self._loss(self._discriminator(fake.detach()), zeros).backward()
            self._discriminator_optimizer.step()
            self._generator_optimizer.zero_grad()
            self._loss(self._discriminator(fake), ones).backward()
            self._generator_optimizer.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--updates", type=int, default=20, help="updates per round")
    parser.add_argument("--threads", type=int, default=1)
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)
    data = mnist.load("mnist-10k")
    ours, plain = GANTrainer(OPTIONS, data), PlainLoop(data)

    def images_per_s(trainer: GANTrainer | PlainLoop) -> float:
        began = time.perf_counter()
        trainer.train(flags.updates)
        return flags.updates * OPTIONS.batch_size / (time.perf_counter() - began)

    side_by_side(
        lambda: images_per_s(ours),
        lambda: images_per_s(plain),
        rounds=flags.rounds,
        unit="images/s",
        goal="4 times, on a processor with AMX",
        higher_is_better=True,
        notes={
            "threads": flags.threads,
            "precision": ours.precision,
            "batch_size": OPTIONS.batch_size,
            "updates_per_round": flags.updates,
        },
    )


if __name__ == "__main__":
    main()
