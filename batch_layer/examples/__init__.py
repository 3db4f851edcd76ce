"""Reads examples on the driver or on executors, for batch families that have an input schema."""
