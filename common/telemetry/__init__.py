"""Logging of every layer's process; any room of `common` and any layer may import `logs`."""
