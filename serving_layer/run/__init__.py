"""The serving layer as a process, alone or as several workers."""
