"""The batch layer as a process: lock, one generation after the other, retention."""
