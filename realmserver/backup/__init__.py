"""Copies of a data directory, made while a server uses it, and checks of what is in one."""
