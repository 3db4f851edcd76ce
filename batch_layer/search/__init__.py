"""The search for hyperparameters: candidates, their evaluation, the best one."""
