"""The serving layer: keeps the newest model in memory and answers REST queries."""
