"""Deep Q-network (Mnih et al. 2015) on any Gymnasium environment of discrete actions and vector observations, as an RLlib algorithm."""
