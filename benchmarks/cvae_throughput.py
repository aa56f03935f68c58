"""Images per second of our CVAE trainer, against the PyTorch examples' loop with the same network."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import torch
from digits import Digits
from side_by_side import side_by_side
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from algorithms import mnist
from algorithms.cvae.options import CVAEOptions
from algorithms.cvae.trainer import CVAETrainer

OPTIONS = CVAEOptions(batch_size=128)


class PlainCVAE(nn.Module):
    """Our network as it is usually written, with a one-hot label joined to both inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = self._mlp(784 + 10, 2 * OPTIONS.latent_size)
        self.decoder = self._mlp(OPTIONS.latent_size + 10, 784)

    @staticmethod
    def _mlp(inputs: int, outputs: int) -> nn.Sequential:
        width = OPTIONS.width
        return nn.Sequential(
            nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs)
        )

    def forward(self, pixels: Tensor, label: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        one_hot = functional.one_hot(label, 10).float()
        mean, log_var = self.encoder(torch.cat([pixels, one_hot], dim=1)).chunk(2, dim=1)
        z = mean + torch.exp(log_var / 2) * torch.randn_like(mean)
        return torch.sigmoid(self.decoder(torch.cat([z, one_hot], dim=1))), mean, log_var


class PlainLoop:
    """The loop of pytorch/examples' vae: DataLoader, fp32, eager, Adam."""

    def __init__(self, data: mnist.MNIST) -> None:
        self._network = PlainCVAE()
        self._optimizer = torch.optim.Adam(self._network.parameters(), OPTIONS.lr)
        self._batches = self._forever(
            DataLoader(Digits(data), OPTIONS.batch_size, shuffle=True, drop_last=True)
        )

    @staticmethod
    def _forever(loader: DataLoader[tuple[Tensor, int]]) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from loader  # type: ignore[misc]

    def train(self, num_updates: int) -> None:
        for _ in range(num_updates):
            images, label = next(self._batches)
            pixels = images.flatten(1)
            self._optimizer.zero_grad()
            ink, mean, log_var = self._network(pixels, label)
            reconstruction = functional.binary_cross_entropy(ink, pixels, reduction="sum")
            kl = -0.5 * torch.sum(1 + log_var - mean.pow(2) - log_var.exp())
            loss = (reconstruction + kl) / len(pixels)
            loss.backward()
            loss.item()
            self._optimizer.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--updates", type=int, default=200, help="updates per round")
    parser.add_argument("--threads", type=int, default=1)
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)
    data = mnist.load("mnist-10k")
    ours, plain = CVAETrainer(OPTIONS, data), PlainLoop(data)
    num_parameters = [
        sum(parameter.numel() for parameter in network.parameters())
        for network in (ours.network, plain._network)
    ]
    assert num_parameters[0] == num_parameters[1], "not the same network"

    def images_per_s(trainer: CVAETrainer | PlainLoop) -> float:
        began = time.perf_counter()
        trainer.train(flags.updates)
        return flags.updates * OPTIONS.batch_size / (time.perf_counter() - began)

    side_by_side(
        lambda: images_per_s(ours),
        lambda: images_per_s(plain),
        rounds=flags.rounds,
        unit="images/s",
        goal="4 times",
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
