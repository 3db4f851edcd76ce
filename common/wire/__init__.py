"""The codec of the topics: messages with their stamps, and dead letters; imports only `base`."""
