"""Deep Q-network (Mnih et al. 2015) for discrete actions and vector observations."""

from algorithms.lazy import exports

__all__ = ["DQN", "DQNConfig", "DQNOptions"]
__getattr__, __dir__ = exports(__name__, DQN="dqn", DQNConfig="dqn", DQNOptions="options")
