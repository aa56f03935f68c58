"""What DQN and REINFORCE share, from environments to gradients.

no Ray   vector_envs.py: environments that step together    stepper.py: the hot loop    whole_episodes.py: quotas
         rollout_batch.py: the arrays of a rollout           rollout_stats.py: counts and speeds
Ray      env_runner.py: RLlib's env runner                   runner_pool.py: requests and answers, runners that fail
         samplers.py: who is asked for what                  learner.py, config.py, algorithm.py: RLlib's three classes
"""
