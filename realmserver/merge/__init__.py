"""The operational-transform merge: two concurrent histories become one (``spec/merge.md``).

:func:`~realmserver.merge.walk.merge` transforms changesets in memory; :mod:`~realmserver.merge.summaries` says which
entries of a history a merge has to look at. This room knows no bytes, no state, no clients and no I/O. It is plain
typed Python that mypyc can compile.
"""

from realmserver.merge.errors import TransformError

__all__ = ["TransformError"]
