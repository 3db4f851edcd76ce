"""Authentication of the HTTP interface: bearer tokens, HTTP digest, roles."""
