"""Numbers and texts as bytes, for the records that the Realm's schema and shape keep in the store.

Not the changeset's integer code (``spec/changeset.md`` 2): plain unsigned LEB128, read only from our own records. Bytes
that do not parse are damage to the store, our side's fault, and raise :class:`BrokenRecord`.
"""

from typing import Final

_CONTINUES: Final = 0x80
_BITS: Final = 0x7F


class BrokenRecord(Exception):
    """A record in the store is not of a form this version writes."""


def put_uint(out: bytearray, value: int) -> None:
    """Append ``value``, which must not be negative."""
    while value > _BITS:
        out.append(_CONTINUES | value & _BITS)
        value >>= 7
    out.append(value)


def put_sint(out: bytearray, value: int) -> None:
    """Append ``value``, which has a sign and 64 bits at most; small ones of either sign are short."""
    put_uint(out, value << 1 if value >= 0 else ~value << 1 | 1)


def put_text(out: bytearray, text: str) -> None:
    """Append a string in the form of changesets (UTF-8 with surrogate escapes), its size first."""
    data = text.encode("utf-8", "surrogateescape")
    put_uint(out, len(data))
    out += data


class Unpacker:
    """Reads a record from its start. Every call raises :class:`BrokenRecord` where the bytes end too early."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes, expected_format: int) -> None:
        """``expected_format`` is what the record's leading format byte must be; raises :class:`BrokenRecord`."""
        self._data = data
        self._at = 1
        if not data or data[0] != expected_format:
            raise BrokenRecord(f"format {data[:1].hex() or 'missing'} instead of {expected_format:02x}")

    def uint(self) -> int:
        data = self._data
        at = self._at
        value = shift = 0
        try:
            while data[at] & _CONTINUES:
                value |= (data[at] & _BITS) << shift
                shift += 7
                at += 1
            value |= data[at] << shift
        except IndexError:
            raise BrokenRecord("the record ends inside a number") from None
        self._at = at + 1
        return value

    def sint(self) -> int:
        """What :func:`put_sint` has appended."""
        value = self.uint()
        return value >> 1 ^ -(value & 1)

    def raw(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        end = self._at + size
        if end > len(self._data):
            raise BrokenRecord("the record ends inside a value")
        data = self._data[self._at : end]
        self._at = end
        return data

    def text(self) -> str:
        return self.raw(self.uint()).decode("utf-8", "surrogateescape")

    def rest(self) -> bytes:
        """All that has not been read."""
        return self.raw(len(self._data) - self._at)

    @property
    def at_end(self) -> bool:
        """Whether everything has been read."""
        return self._at >= len(self._data)

    def done(self) -> None:
        """Raises :class:`BrokenRecord` unless everything has been read."""
        if self._at != len(self._data):
            raise BrokenRecord("bytes after the record's end")
