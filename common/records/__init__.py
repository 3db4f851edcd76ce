"""Lines as columns, examples, encodings, PMML fields; for families that have an input schema."""
