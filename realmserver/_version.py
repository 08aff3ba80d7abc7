"""The version of realm-object-server."""

__version__ = "0.1.0"
