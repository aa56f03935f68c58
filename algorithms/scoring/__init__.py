"""Scores of generated digits: a pinned MNIST classifier, a Fréchet distance on its features, and companions. See `Scorer.score`."""

from algorithms.scoring.metrics import Scorer

__all__ = ["Scorer"]
