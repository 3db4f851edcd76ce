"""The model store: generations, manifests, signatures, mapped arrays; import from its modules."""
