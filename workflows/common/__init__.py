"""What the workflows share: connecting to Ray, building the search, reading a run folder."""

RUN_FILE = "run.json"
"""In every run folder: what was asked for, and with which versions it was run."""
