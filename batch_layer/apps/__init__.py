"""The batch layer's part of every model family."""
