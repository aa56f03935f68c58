"""Is what a search found really better than the homework's setting? Both trained anew on seeds that the search never used, in pairs.

A search's minimum over a set that contains the preset can't be worse than it, so by itself it proves nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context

import torch
from side_by_side import RESULTS, circumstances

from algorithms import mnist
from algorithms.gan.options import GANOptions
from algorithms.gan.trainer import Trainer

PRESET = GANOptions()
FOUND = GANOptions()
"""The best trial of the search under docs/results.md."""


def score(options: GANOptions, seed: int, num_updates: int) -> dict[str, float]:
    """Return the metrics of 10,000 samples after `num_updates` on all of MNIST, on one thread."""
    torch.set_num_threads(1)
    trainer = Trainer(options, mnist.load(), seed=seed)
    trainer.train(num_updates)
    return trainer.evaluate(10_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[101, 102, 103])
    parser.add_argument("--updates", type=int, default=2000)
    flags = parser.parse_args()
    rows = []
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        pairs = [(seed, *(pool.submit(score, options, seed, flags.updates) for options in (FOUND, PRESET))) for seed in flags.seeds]
        for seed, found, preset in pairs:
            rows.append({"seed": seed, "found": found.result(), "preset": preset.result()})
            print(
                f"seed {seed}: fid_mnist found {rows[-1]['found']['fid_mnist']:.3f}, preset {rows[-1]['preset']['fid_mnist']:.3f}",
                flush=True,
            )
    means = {name: statistics.mean(row[name]["fid_mnist"] for row in rows) for name in ("found", "preset")}
    better = sum(row["found"]["fid_mnist"] < row["preset"]["fid_mnist"] for row in rows)
    print(f"mean fid_mnist: found {means['found']:.3f}, preset {means['preset']:.3f}; found is better on {better} of {len(rows)} seeds")
    record = {
        "benchmark": "gan_found_vs_preset.py",
        "unit": "fid_mnist on 10,000 samples",
        "mean": means,
        "better_on_seeds": better,
        "rounds": rows,
        "found": asdict(FOUND),
        "preset": asdict(PRESET),
        **circumstances(),
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "gan_found_vs_preset.json"
    path.write_text(json.dumps(record, indent=2) + "\n")
    print(f"written to {path}")


if __name__ == "__main__":
    main()
