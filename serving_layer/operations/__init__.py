"""Routes for operators: health, metrics, the model as PMML; only `run` imports from it."""
