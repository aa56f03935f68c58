"""The four algorithms (CVAE, DCGAN, DQN, REINFORCE) and what carries them; importable without the workflows."""
