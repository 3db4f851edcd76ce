"""The HTTP server: sockets, TLS, requests read whole under bounds, threads."""
