"""The API described from the code, as OpenAPI."""
