"""REINFORCE (Williams 1992) for vector observations, and actions that are discrete or vectors."""

from algorithms.lazy import exports

__all__ = ["REINFORCE", "REINFORCEConfig", "REINFORCEOptions"]
__getattr__, __dir__ = exports(
    __name__, REINFORCE="reinforce", REINFORCEConfig="reinforce", REINFORCEOptions="options"
)
