"""Routes for operators: health, metrics, the model as PMML."""
