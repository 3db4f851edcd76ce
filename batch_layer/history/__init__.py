"""The history: one Delta table, filled from the input topic and split at the cut."""
