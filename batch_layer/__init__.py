"""The batch layer: keeps all history and periodically trains a model generation on it."""
