"""Fetch MNIST into the user's cache: `python -m algorithms.mnist`, which is `make data`."""

import sys

from algorithms.mnist import FetchError, cache_dir, fetch


def main() -> int:
    """Fetch, and return the exit code. `make gan` goes on after a 1: `load` then warns and uses mnist-10k."""
    try:
        fetched = fetch()
    except (FetchError, ValueError) as error:
        print(f"MNIST could not be fetched: {error}", file=sys.stderr)
        return 1
    print(f"MNIST is {'now' if fetched else 'already'} in {cache_dir()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
