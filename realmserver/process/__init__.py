"""The process around the server: its start and stop, signals, its user, its supervisor, and what its screen says."""
