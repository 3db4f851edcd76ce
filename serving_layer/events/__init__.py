"""Events that clients send: checked whole, then written to the input topic."""
