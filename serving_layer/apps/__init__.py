"""The serving layer's part of every model family."""
