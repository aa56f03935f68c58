"""REINFORCE: options, losses, networks, policy files, the learner and the RLlib algorithm."""
