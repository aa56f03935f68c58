"""What a person runs: the workflows, and `results`, the door to what they leave behind."""

__version__ = "0.2.0"
