"""Command line of Gemsbok: set-up, the embedded broker, and one verb for each task."""
