"""Measurements of this server, each a command of its own: ``python -m bench.start``, ``python -m bench.proxy``.

Servers run as processes of their own on free ports of this machine; nothing else is contacted. Timing belongs here,
never in a test.
"""
