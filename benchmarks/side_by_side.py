"""Measure two alternatives in turn, A B B A, …: machines drift, so only such a ratio counts."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def side_by_side(
    ours: Callable[[], float],
    peer: Callable[[], float],
    *,
    rounds: int,
    unit: str,
    goal: str,
    higher_is_better: bool,
    notes: dict[str, Any],
) -> None:
    """Measure both `rounds` times, print medians and ratio, and write benchmarks/results/<script>.json.

    `ours` and `peer` run once and return their figure in `unit`. The first call of each is a warm-up and
    is not counted. The ratio says how many times better ours is.
    """
    ours(), peer()
    rows = []
    for number in range(rounds):
        if number % 2:
            theirs, mine = peer(), ours()
        else:
            mine, theirs = ours(), peer()
        rows.append(
            {"ours": mine, "peer": theirs, "ratio": mine / theirs if higher_is_better else theirs / mine}
        )
        print(
            f"round {number + 1}/{rounds}: ours {mine:.4g}, peer {theirs:.4g} {unit}, {rows[-1]['ratio']:.2f} times",
            flush=True,
        )
    figures: dict[str, float] = {}
    for name in ("ours", "peer", "ratio"):
        figures |= spread(name, [row[name] for row in rows])
    print(
        f"ours {figures['ours_median']:.4g}, peer {figures['peer_median']:.4g} {unit}: {figures['ratio_median']:.2f} times "
        f"({figures['ratio_min']:.2f} to {figures['ratio_max']:.2f}, {rounds} rounds); goal: {goal}"
    )
    write({"unit": unit, "goal": goal, **figures, "rounds": rows, **notes})


def spread(name: str, figures: list[float]) -> dict[str, float]:
    """Return `name`_median, `name`_min and `name`_max."""
    return {
        f"{name}_{kind}": pick(figures)
        for kind, pick in (("median", statistics.median), ("min", min), ("max", max))
    }


def write(record: dict[str, Any], *packages: str) -> None:
    """Write benchmarks/results/<script>.json, with circumstances and versions; print its path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / (Path(sys.argv[0]).stem + ".json")
    path.write_text(
        json.dumps({"benchmark": Path(sys.argv[0]).name, **record, **circumstances(*packages)}, indent=2)
        + "\n"
    )
    print(f"written to {path}")


def circumstances(*packages: str) -> dict[str, Any]:
    """Return the circumstances of a figure: command, versions, hardware, date."""
    names = ("torch", "ray", "numpy", *packages)
    return {
        "command": "python " + " ".join([f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in names},
        "hardware": f"{os.cpu_count()} x {_processor()}",
        "date": time.strftime("%Y-%m-%d"),
    }


def _processor() -> str:
    import torch

    capabilities = torch.cpu.get_capabilities()
    units = [name for name in ("avx512_bf16", "amx_bf16") if capabilities.get(name)]
    return f"{capabilities.get('cpu_name') or platform.processor()} ({', '.join(units) or 'no native bf16'})"
