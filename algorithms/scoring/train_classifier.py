"""Train the scoring classifier and write its weights: python -m algorithms.scoring.train_classifier

AdamW with one cosine cycle, small random affine maps, an exponential moving average of the weights. The loss
is plain cross-entropy, since label smoothing would bend the probabilities that `confidence` reads. Judge a
change of this recipe by the last 5,000 training digits, which are held out; test digits are scored once, at
the end. One thread (OMP_NUM_THREADS=1) gives the same bits again.

B batch, H height 28, W width 28, F features, C classes."""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from algorithms import mnist
from algorithms.scoring.classifier import WEIGHTS, Classifier, embed
from algorithms.scoring.metrics import mean_and_cov, sample_metrics

NUM_HELD_OUT = 5_000
BATCH_SIZE = 256
LEARNING_RATE = 4e-3
EMA_DECAY = 0.998


def augment(ink_BHW: Tensor, generator: torch.Generator) -> Tensor:
    """Return each image under a random map, at most 10 degrees, 10 % of scale, 0.1 of shear, 2 pixels."""
    limit_6 = torch.tensor([10 * torch.pi / 180, 0.1, 0.1, 0.1, 2 / 14, 2 / 14])
    draw_B6 = (torch.rand(len(ink_BHW), 6, generator=generator) * 2 - 1) * limit_6
    angle_B, scale_x_B, scale_y_B, shear_B, shift_x_B, shift_y_B = draw_B6.unbind(dim=1)
    cos_B, sin_B = angle_B.cos(), angle_B.sin()
    row_x_B3 = torch.stack([(1 + scale_x_B) * cos_B, shear_B - sin_B, shift_x_B], dim=1)
    row_y_B3 = torch.stack([sin_B, (1 + scale_y_B) * cos_B, shift_y_B], dim=1)
    grid_BHW2 = functional.affine_grid(
        torch.stack([row_x_B3, row_y_B3], dim=1), [len(ink_BHW), 1, 28, 28], align_corners=False
    )
    return functional.grid_sample(ink_BHW.unsqueeze(1), grid_BHW2, align_corners=False).squeeze(1)


def train(images: Tensor, labels: Tensor, epochs: int, generator: torch.Generator) -> Classifier:
    """Train on uint8 images [N, 28, 28] and int64 labels [N]; return the averaged, folded network."""
    network = Classifier(batch_norm=True)
    for layer in (*network.convs, network.head):
        nn.init.kaiming_normal_(layer.weight, generator=generator)
    nn.init.zeros_(network.head.bias)
    ema = get_ema_multi_avg_fn(EMA_DECAY)  # type: ignore[no-untyped-call]
    averaged = AveragedModel(network, multi_avg_fn=ema, use_buffers=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=0.02, fused=True)
    updates = epochs * (len(images) // BATCH_SIZE)
    one_cycle = torch.optim.lr_scheduler.OneCycleLR
    schedule = one_cycle(optimizer, LEARNING_RATE, total_steps=updates, pct_start=0.15)
    for epoch in range(epochs):
        order = torch.randperm(len(images), generator=generator)
        for index_B in torch.split(order, BATCH_SIZE)[: updates // epochs]:
            ink_BHW = augment(images[index_B].float() / 255, generator)
            with torch.autocast("cpu", torch.bfloat16):
                logits_BC = network(ink_BHW)[1]
            loss = functional.cross_entropy(logits_BC.float(), labels[index_B])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            averaged.update_parameters(network)
        print(f"epoch {epoch + 1}/{epochs} loss {loss.item():.4f}", flush=True)
    assert isinstance(averaged.module, Classifier)
    return averaged.module.folded()


def scale_features(network: Classifier, factor: float) -> None:
    """Multiply the features by a positive factor, and keep the logits. ReLU and the mean commute with it."""
    with torch.no_grad():
        for parameter in network.convs[-1].parameters():
            parameter.mul_(factor)
        network.head.weight.div_(factor)


def accuracy(network: Classifier, images: Tensor, labels: Tensor) -> float:
    """Return the share of uint8 images [N, 28, 28] whose most likely class is their label [N]."""
    return float((embed(network, images)[1].argmax(dim=1) == labels).double().mean())


def parse(argv: list[str] | None) -> tuple[argparse.Namespace, mnist.MNIST]:
    """Return the flags and all of MNIST."""
    parser = argparse.ArgumentParser(
        prog="python -m algorithms.scoring.train_classifier", description="Train the scoring classifier."
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument(
        "--data-dir", type=Path, default=None, help="folder of the four raw MNIST files (default: the cache)"
    )
    parser.add_argument("--output", type=Path, default=WEIGHTS, help="default: the committed file")
    args = parser.parse_args(argv)

    if args.epochs < 1:
        parser.error(f"--epochs must be at least 1, got {args.epochs}")
    if not args.output.parent.is_dir():
        parser.error(f"--output {args.output}: no such folder")
    try:
        digits = mnist.load("mnist", data_dir=args.data_dir)
    except ValueError as error:
        parser.error(str(error))
    if digits.name != "mnist":
        parser.error("all 60,000 training digits are needed: run `make data` or give --data-dir")
    return args, digits


def main(argv: list[str] | None = None) -> None:
    """Train, measure, write the file, print its record."""
    args, digits = parse(argv)
    arrays = (digits.train_images, digits.train_labels, digits.test_images, digits.test_labels)
    train_images, train_labels, test_images, test_labels = map(torch.tensor, arrays)
    generator = torch.Generator().manual_seed(args.seed)
    network = train(train_images[:-NUM_HELD_OUT], train_labels[:-NUM_HELD_OUT], args.epochs, generator)
    held_out_accuracy = accuracy(network, train_images[-NUM_HELD_OUT:], train_labels[-NUM_HELD_OUT:])
    print(f"held-out accuracy {held_out_accuracy:.4f}")

    variance = float(mean_and_cov(embed(network, train_images)[0])[1].trace())
    scale_features(network, (100 / variance) ** 0.5)
    mean_F, cov_FF = mean_and_cov(embed(network, train_images)[0])
    record: dict[str, Any] = {
        "command": f"python -m algorithms.scoring.train_classifier --seed {args.seed} --epochs {args.epochs}",
        "seed": args.seed,
        "epochs": args.epochs,
        "statistics": "mean and covariance (float64) of the features of the 60,000 training digits, "
        "scaled to a total variance of 100",
        "trained_on": len(train_images) - NUM_HELD_OUT,
        "held_out_accuracy": held_out_accuracy,
        "test_accuracy": accuracy(network, test_images, test_labels),
        "floor": sample_metrics(*embed(network, test_images), mean_F, cov_FF),
        "torch": torch.__version__,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }
    tensors = {f"network.{name}": tensor.contiguous() for name, tensor in network.state_dict().items()}
    statistics = {"statistics.mean": mean_F, "statistics.cov": cov_FF}
    save_file(tensors | statistics, args.output, metadata={"record": json.dumps(record)})
    args.output.chmod(0o644)  # safetensors writes 0600, which would travel into an installed package
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
