"""The kit of families with an input schema: lines as columns, examples, encodings, PMML fields."""
