"""The speed layer: folds every new event into the model within a second."""
