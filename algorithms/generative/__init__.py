"""What generative models share. `trainer.py` says what a third model must define."""

CHECKPOINT_FILE = "trainer.pt"
"""The file of a checkpoint folder that holds a trainer's state."""
ROW = 10
"""Digits in a row of a page of samples. There are as many classes of digits."""
