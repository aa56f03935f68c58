"""The pinned MNIST classifier that scores samples: five convolutions, 64 features, 10 classes.

The committed file `mnist_classifier.safetensors` holds its weights (batch norm folded in), the mean and
covariance of its features over the 60,000 training digits, and a record of how it was made. Only
`train_classifier.py` writes it, so that scores of different runs stay comparable. A digit takes 3 million
multiply-adds.

B batch, H height 28, W width 28, F features 64, C classes 10."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

WEIGHTS = Path(__file__).parent / "mnist_classifier.safetensors"
NUM_CLASSES = 10
CHUNK = 500  # images a forward pass, some 20 MB of activations; 250 to 1,000 are equally fast on a CPU

# Output channels, kernel, stride. The two early strides make it cheap: 28 -> 14 -> 7 -> 7 -> 7 -> 4.
_CONVS = ((16, 5, 2), (32, 3, 2), (48, 3, 1), (64, 3, 1), (64, 3, 2))


class Classifier(nn.Module):
    """Strided convolutions with ReLU, global average pooling, one linear layer; batch norm in training."""

    def __init__(self, batch_norm: bool = False) -> None:
        super().__init__()
        widths = (1, *(channels for channels, _, _ in _CONVS))
        shapes = [(before, *conv) for before, conv in zip(widths, _CONVS, strict=False)]
        self.convs = nn.ModuleList(
            nn.Conv2d(i, o, k, stride=s, padding=k // 2, bias=not batch_norm) for i, o, k, s in shapes
        )
        self.norms = nn.ModuleList(
            nn.BatchNorm2d(o) if batch_norm else nn.Identity() for _, o, _, _ in shapes
        )
        self.head = nn.Linear(widths[-1], NUM_CLASSES)
        self.to(memory_format=torch.channels_last)  # faster on CPU

    def forward(self, ink_BHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return features [B, F], which are never negative, and logits [B, C], of ink in [0, 1]."""
        x_BCHW = ink_BHW.unsqueeze(1).contiguous(memory_format=torch.channels_last)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x_BCHW = functional.relu(norm(conv(x_BCHW)))
        features_BF = x_BCHW.mean(dim=(2, 3))
        return features_BF, self.head(features_BF)

    def folded(self) -> "Classifier":
        """Return the same function without batch norm: each convolution takes in the norm that follows it."""
        plain = Classifier()
        for i, (conv, norm) in enumerate(zip(self.eval().convs, self.norms, strict=True)):
            assert isinstance(conv, nn.Conv2d)
            assert isinstance(norm, nn.BatchNorm2d)
            plain.convs[i] = fuse_conv_bn_eval(conv, norm)
        plain.head.load_state_dict(self.head.state_dict())
        return plain.eval()


@dataclass(frozen=True)
class Pinned:
    """The committed file: the network, the statistics of features (float64, on the CPU), the record."""

    network: Classifier
    mean_F: Tensor
    cov_FF: Tensor
    record: dict[str, Any]


def load(path: Path = WEIGHTS) -> Pinned:
    """Return the classifier in evaluation mode, on the CPU, and the statistics stored with it."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    mean_F, cov_FF = tensors.pop("statistics.mean"), tensors.pop("statistics.cov")
    network = Classifier()
    network.load_state_dict({name.removeprefix("network."): tensor for name, tensor in tensors.items()})
    return Pinned(network.eval().requires_grad_(False), mean_F, cov_FF, read_record(path))


def read_record(path: Path = WEIGHTS) -> dict[str, Any]:
    """Return how the file was made (command, seed, accuracies, versions), and its `floor`."""
    with safe_open(path, framework="pt") as file:
        record: dict[str, Any] = json.loads(file.metadata()["record"])
    return record


@torch.inference_mode()
def embed(network: Classifier, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return features [N, F] and log probabilities [N, C] of uint8 images [N, 28, 28], float32 on the CPU.

    The network runs on its device in full float32 (no TF32), so a GPU's features agree with a CPU's to
    rounding.
    """
    device = network.head.weight.device
    features, log_probs = [], []
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        for chunk in torch.split(images, CHUNK):
            features_BF, logits_BC = network(chunk.to(device).float() / 255)
            features.append(features_BF.cpu())
            log_probs.append(functional.log_softmax(logits_BC, dim=1).cpu())
    return torch.cat(features), torch.cat(log_probs)
