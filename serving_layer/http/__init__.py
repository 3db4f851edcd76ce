"""The form of requests and replies: paths, parameters, errors, media types."""
