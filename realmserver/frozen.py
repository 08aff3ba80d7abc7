"""Frozen values of which a server makes many: frozen for whoever checks types, and as cheap to make as others.

attrs' own frozen classes take five to ten times as long to make, because each attribute is set past the class's guard:
2 us for seven of them, of some 200 that an upload takes. That nobody changes one is what the type checker sees to, and
it is part of the tests.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attrs import frozen as frozen
else:
    from attrs import define

    def frozen(made=None, *, eq=True, **options):
        """As ``attrs.frozen``: equal and hashed by what is in it, or by identity with ``eq=False``."""
        return define(made, eq=eq, unsafe_hash=True if eq else None, **options)
