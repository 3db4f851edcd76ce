"""Hyperparameter search and its metrics; families derive from `training.MLUpdate`."""
