"""What DQN and REINFORCE share, from environments to gradients.

without Ray   vector_envs: environments that step together    rollout_batch: the arrays of a rollout
              stepper: the hot loop                           whole_episodes: quotas of whole episodes
              networks, policy_files, play: trained policies  rollout_stats: counts and speeds
with Ray      env_runner: RLlib's env runner                  runner_pool: requests, and runners that fail
              samplers: who is asked for what                 learner, config, algorithm: RLlib's classes
"""
