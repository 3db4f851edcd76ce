"""Following the update topic, and writing to it: what speed and serving layer share."""
