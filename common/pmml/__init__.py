"""PMML documents and the predicates of trees; families import from its modules."""
