"""MNIST as the PyTorch examples read it, for the benchmarks' peers: one picture at a time, by torchvision."""

from __future__ import annotations

from torch import Tensor
from torch.utils.data import Dataset
from torchvision import transforms

from algorithms import mnist


class Digits(Dataset[tuple[Tensor, int]]):
    """Pictures [1, 28, 28] in (0, 1), or in (-1, 1) if `signed`, and their labels."""

    def __init__(self, data: mnist.MNIST, signed: bool = False) -> None:
        self._images, self._labels = data.train_images, data.train_labels
        self._transform = transforms.Compose(
            [transforms.ToTensor(), *([transforms.Normalize((0.5,), (0.5,))] if signed else [])]
        )

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._transform(self._images[index][:, :, None].copy()), int(self._labels[index])
