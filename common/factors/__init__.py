"""The kit of factor models: matrices, ids, known items, files, the solver."""
