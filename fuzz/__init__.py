"""Fuzzers: whatever comes from outside, only documented errors may escape (``docs/testing.md``).

``python -m fuzz TARGET [--seconds N]`` looks for an input that breaks a target, ``python -m fuzz --list`` names the
targets. Where atheris is installed (``pip install atheris``) it chooses the inputs, guided by the lines that they
reach; elsewhere plain random mutation does, so nothing besides what tests need has to be installed.
"""
