"""The speed layer as a process: micro-batches folded in and published."""
