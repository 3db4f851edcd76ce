"""The OpenAPI document, generated from the routes; import `document` from its module."""
