"""Trains reward models from graded rollouts: `python -m fettle_workers.reward_models`."""
