"""Which hyperparameters are tried: Tune's searchers, by the names of `--searcher`. The baseline always comes first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.tune.search import SearchAlgorithm
from ray.tune.search.basic_variant import BasicVariantGenerator


def _random(baseline: dict[str, Any], seed: int, max_concurrent: int) -> SearchAlgorithm:
    return BasicVariantGenerator(
        points_to_evaluate=[baseline], random_state=seed, max_concurrent=max_concurrent
    )


SEARCHERS: dict[str, Callable[[dict[str, Any], int, int], SearchAlgorithm]] = {"random": _random}
"""name -> searcher of (the baseline's config, seed, trials at a time or 0); Tune's own limit is ignored where a searcher is given."""
