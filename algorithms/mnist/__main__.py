"""Fetch MNIST into the user's cache: `python -m algorithms.mnist`."""

import sys

from algorithms.mnist import main

if __name__ == "__main__":
    sys.exit(main())
