"""The four algorithms (CVAE, DCGAN, DQN, REINFORCE) and what they share; no workflow is imported here."""
