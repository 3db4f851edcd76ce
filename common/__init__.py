"""What the three layers share: configuration, messages, broker, model store, family maths."""
