"""The speed layer's part of every model family."""
