"""What the workflows share: connecting to Ray, building the search, reading a run folder."""
