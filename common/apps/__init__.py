"""The pure part of every model family: its settings, its input lines, its maths, its payloads."""
