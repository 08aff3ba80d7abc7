"""Which places of a Realm link to an object: what a client has to nullify before it deletes one.

Looks at the content as reading shows it, and only at objects that can hold such a link (``spec/changeset.md`` 5, last
paragraph but one). Nothing is changed here.
"""

from collections.abc import Iterator, Mapping, Sequence

from realmserver.changeset.instructions import TABLE_ASYMMETRIC, PathElement
from realmserver.client.address import Address
from realmserver.realms.reading import Link
from realmserver.realms.schema import Table
from realmserver.realms.values import Values


def links_to(values: Values, target: Link) -> Iterator[Address]:
    """The places of other objects that link to ``target``, elements of one list from its end.

    The last step to an element of a list or set is its index as reading shows it. Objects of asymmetric classes, which
    are for the server only, are left out.
    """
    for name in values.classes():
        table = values.schema.tables[name]
        if table.kind == TABLE_ASYMMETRIC or not _can_link(values, table, target.class_name, set()):
            continue
        for key, properties in values.objects(name).items():
            if Link(name, key) != target:
                for property_name, value in properties.items():
                    for path in _paths(value, target):
                        yield Address(values, name, key, property_name, path)


def _can_link(values: Values, table: Table, class_name: str, seen: set[str]) -> bool:
    """Whether an object of ``table``, or one embedded in it (but in none of ``seen``), may link to that class."""
    seen.add(table.name)
    for column in table.columns.values():
        if column.mixed or column.target == class_name:
            return True
        embedded = values.schema.tables[column.target] if column.embedded and column.target not in seen else None
        if embedded is not None and _can_link(values, embedded, class_name, seen):
            return True
    return False


def _paths(value: object, target: Link) -> Iterator[tuple[PathElement, ...]]:
    steps: Sequence[tuple[PathElement, object]] = []
    if value == target:
        yield ()
    elif isinstance(value, Mapping):
        steps = list(value.items())
    elif isinstance(value, list):
        steps = list(enumerate(value))[::-1]
    for step, inner in steps:
        for rest in _paths(inner, target):
            yield step, *rest
