"""Strategies that try mappings one by one, and prove nothing: at random, annealing, optuna."""
