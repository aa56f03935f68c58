"""Scores of generated digits by a pinned MNIST classifier; see `Scorer.score`."""

from algorithms.scoring.metrics import Scorer

__all__ = ["Scorer"]
