"""The client's version: the server's that it was released with."""

VERSION = "0.1.0.dev0"
