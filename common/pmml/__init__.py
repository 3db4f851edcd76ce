"""PMML documents: written, read with DTDs off, and the predicates of trees."""
