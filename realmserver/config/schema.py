"""How the classes of ``config.model`` say which keys a file has: the words they are built of, and walks over them.

An attribute of a section is a key (:func:`key`), a section (:func:`section`), a section that is off unless it is listed
(:func:`optional`), or a list of sections (:func:`entries`). Values are gathered by dotted key
(``auth.ttls.access_token``) and made into a section at the end (:func:`make`).
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs
from attrs import NOTHING, Attribute, Factory, field, frozen

from realmserver.config.kinds import Kind

LISTED: Final = object()
"""The value of an optional section that the file lists."""


@frozen
class Key:
    """A key of the file: its dotted name, what it may hold, what it means, and its default (NOTHING: it must be given,
    at least if its section is)."""

    name: str
    kind: Kind
    help: str
    default: Any

    @property
    def is_required(self) -> bool:
        return self.default is NOTHING

    @property
    def word(self) -> str:
        """The last part of the name, as the file writes it."""
        return self.name.rpartition(".")[2]


def key(kind: Kind, help: str, *, word: str | None = None, **default: Any) -> Any:
    """A key: what it may hold, what the manual says about it and, as ``default=``, what holds when the file does not
    say. ``word`` is its name in the file where that is not the attribute's."""
    return field(metadata={"kind": kind, "help": help, "word": word}, **default)


def section(cls: type) -> Any:
    """A section that is always there."""
    return field(default=Factory(cls), metadata={"section": cls})


def mandatory(cls: type) -> Any:
    """A section with keys that have no default."""
    return field(metadata={"section": cls})


def optional(cls: type) -> Any:
    """A section that is None unless the file lists it."""
    return field(default=None, metadata={"section": cls, "optional": True})


def entries(cls: type) -> Any:
    """A list of sections; the file has one map for each."""
    return field(default=(), metadata={"entries": cls})


def own_options(cls: type) -> Any:
    """All sections whose names the operator makes up (``custom/<name>``), which may hold keys of his own as well."""
    return field(default=(), metadata={"own": cls})


def word_of(attribute: "Attribute[Any]") -> str:
    """The attribute's name in the file."""
    return attribute.metadata.get("word") or attribute.name


def keys_of(cls: type, prefix: str = "") -> Iterator[Key]:
    """The keys that stand directly in the section ``cls``."""
    for attribute in attrs.fields(cls):
        if "kind" in attribute.metadata:
            kind, help_text = attribute.metadata["kind"], attribute.metadata["help"]
            yield Key(prefix + word_of(attribute), kind, help_text, attribute.default)


def sections_of(cls: type, prefix: str = "") -> Iterator[tuple[str, type]]:
    """The sections that stand directly in ``cls``."""
    for attribute in attrs.fields(cls):
        if "section" in attribute.metadata:
            yield prefix + word_of(attribute), attribute.metadata["section"]


def all_keys(cls: type, prefix: str = "") -> Iterator[Key]:
    """Every key of the file with a name of its own, in the order of the manual; lists of sections are left out."""
    for attribute in attrs.fields(cls):
        if "section" in attribute.metadata:
            yield from all_keys(attribute.metadata["section"], f"{prefix}{word_of(attribute)}.")
        elif "kind" in attribute.metadata:
            kind, help_text = attribute.metadata["kind"], attribute.metadata["help"]
            yield Key(prefix + word_of(attribute), kind, help_text, attribute.default)


def make(cls: type, values: Mapping[str, Any], prefix: str = "") -> Any:
    """The section ``cls`` of ``values`` by dotted key; the rest is default.

    A key that has no default must be there, else TypeError.
    """
    arguments: dict[str, Any] = {}
    attribute: Attribute[Any]
    for attribute in attrs.fields(cls):
        name = prefix + word_of(attribute)
        if "section" in attribute.metadata:
            if not attribute.metadata.get("optional") or name in values:
                arguments[attribute.name] = make(attribute.metadata["section"], values, name + ".")
        elif name in values:
            arguments[attribute.name] = values[name]
    return cls(**arguments)
