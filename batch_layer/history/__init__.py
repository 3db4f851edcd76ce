"""The history: a Delta table, its ingest, its split at a cut; `run` and the kits import from it."""
