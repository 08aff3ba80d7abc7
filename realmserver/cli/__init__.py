"""The commands: thin shells around the rooms, made with click."""
