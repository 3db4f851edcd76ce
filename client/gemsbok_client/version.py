"""The client's version, which is that of the server released with it."""

VERSION = "0.1.0.dev0"
