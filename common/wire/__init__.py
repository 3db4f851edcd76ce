"""The update topic's codec: messages and their stamps, and dead letters."""
