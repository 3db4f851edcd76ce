"""Matrices, ids, known items, files and the solver of factor models; import from its modules."""
