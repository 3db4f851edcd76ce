"""The batch layer's run loop: lock, generations, retention; only `__main__` imports from it."""
