"""Scores of generated digits by a pinned MNIST classifier: a Fréchet distance and others; see `Scorer.score`."""

from algorithms.scoring.metrics import Scorer

__all__ = ["Scorer"]
