"""A toy RL algorithm: one-step actor-critic with linear networks."""

from algorithms.lazy import exports

__all__ = ["Toy", "ToyConfig", "ToyOptions"]
__getattr__, __dir__ = exports(__name__, Toy="toy_rl", ToyConfig="toy_rl", ToyOptions="options")
