"""Following the update topic, and publishing to it; the layers import from its modules."""
