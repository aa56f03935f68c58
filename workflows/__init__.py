"""What a person runs: flags in, a run folder out."""
