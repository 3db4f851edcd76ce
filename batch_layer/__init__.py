"""The batch layer: keeps the history and periodically trains a model generation on it."""
