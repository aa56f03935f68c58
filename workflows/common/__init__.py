"""What the workflows share: connecting to Ray, building the search, reading a run folder."""

RUN_FILE = "run.json"
"""In every run folder: what was asked for, and with which versions it was run."""

STATE = "experiment_state-*.json"
"""Tune's record of a run's trials, rewritten in place about every second."""

SAVED = ".saved"
"""Folder with the last whole copies of Tune's state files; see `state.py`."""
