"""Measurements of this server. ``python -m bench`` runs the workloads that the manual's page Performance describes; the
others are commands of their own: ``python -m bench.start``, ``python -m bench.proxy``, and so on.

Servers run as processes of their own on free ports of this machine; nothing else is contacted. Timing belongs here,
never in a test.
"""
