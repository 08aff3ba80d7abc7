"""Where Realms are kept: append, read, snapshot. Knows nothing of what a changeset means."""
