"""Searchers draw hyperparameters; SEARCHERS names them for `--searcher`. The baseline is the first trial."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray import tune
from ray.tune.search import SearchAlgorithm
from ray.tune.search.basic_variant import BasicVariantGenerator


def domains(space: dict[str, Any]) -> dict[str, Any]:
    """Return a search space in Tune's terms: `tune.loguniform(1e-4, 1e-2)` for ("loguniform", 1e-4, 1e-2)."""
    return {name: _domain(domain) for name, domain in space.items()}


def _domain(domain: Any) -> Any:
    if not isinstance(domain, tuple):
        return domain  # Tune's own
    kind, *arguments = domain
    return getattr(tune, kind)(*arguments)


def _random(baseline: dict[str, Any], seed: int, max_concurrent: int) -> SearchAlgorithm:
    return BasicVariantGenerator(
        points_to_evaluate=[baseline], random_state=seed, max_concurrent=max_concurrent
    )


SEARCHERS: dict[str, Callable[[dict[str, Any], int, int], SearchAlgorithm]] = {"random": _random}
"""name -> factory of a searcher, from the baseline, the seed, and the trials at a time (0: no limit).

A searcher limits itself, because Tune ignores its own limit where a searcher is given."""
