"""The serving layer's process or workers, and its application; only `__main__` imports from it."""
