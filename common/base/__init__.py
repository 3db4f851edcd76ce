"""Errors with codes, hashing, files, paths, input lines, fail points; all rooms may import them."""
