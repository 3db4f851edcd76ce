"""The serving layer: holds the newest model in memory and answers REST queries."""
