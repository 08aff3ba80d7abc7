"""Changesets: what one transaction did to a Realm, as values and as bytes (``spec/changeset.md``).

This room knows the format and nothing else: no merge rules, no state, no I/O. It is plain typed Python that mypyc
can compile.
"""
