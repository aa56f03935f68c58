"""From environments to columns: what DQN and REINFORCE share.

vector_envs.py   environments that step together          env_runner.py   the Ray actor that steps them
columns.py       what crosses a process border            collector.py    the driver's side: who is asked, with which weights
"""
