"""REINFORCE (Williams 1992) for vector observations, and actions that are discrete or vectors."""

from algorithms.lazy import exports

__all__ = ["REINFORCE", "REINFORCEConfig", "REINFORCEOptions"]
__getattr__ = exports(
    __name__, REINFORCE="reinforce", REINFORCEConfig="reinforce", REINFORCEOptions="options"
)


def __dir__() -> list[str]:
    return __all__
