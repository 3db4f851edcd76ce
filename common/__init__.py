"""What the three layers share: configuration, messages, broker, model store, family maths."""

__version__ = "0.1.0.dev0"
