"""From a YAML file and command-line options to a :class:`~realmserver.config.model.Configuration`.

Whatever is wrong is gathered and reported in one go, in the order of the file, each with its place, the key, what is
wrong and what to write (``spec/http-api.md`` 6.1). Options override the file. How a file is read is in
``config.reader``, what must hold between keys and on this machine in ``config.check``.
"""

from collections.abc import Iterator
from typing import Final

from attrs import evolve, frozen

from realmserver.config import check, model, schema
from realmserver.config.kinds import A_PATH, BadValue
from realmserver.config.machine import Machine
from realmserver.config.problem import ConfigurationError, Problem
from realmserver.config.reader import Reader

ROOT: Final = "storage.root_path"
KEY_PATHS: Final = ("auth.public_key_path", "auth.private_key_path")

__all__ = ["ConfigurationError", "Options", "load"]


@frozen
class Options:
    """What the command line says; None where it is silent. ``default_root`` counts only if nothing names a root."""

    root: str | None = None
    public_key: str | None = None
    private_key: str | None = None
    default_root: str | None = None


def load(file: str | None, options: Options | None = None, machine: Machine | None = None) -> model.Configuration:
    """Read ``file`` (None: all defaults), let ``options`` override it, and check the result.

    Without a ``machine``, nothing is asked of it but files: its ports and the dates of certificates are not looked at.
    Raises :class:`ConfigurationError` with all problems found.
    """
    reader = Reader(file)
    if file is not None and not reader.read_file():
        raise ConfigurationError(reader.problems)
    return finish(reader, options or Options(), machine)


def finish(reader: Reader, options: Options, machine: Machine | None) -> model.Configuration:
    """The configuration of what was read; raises as :func:`load` does."""
    _apply_servers(reader)
    _apply_options(reader, options)
    problems = list(reader.problems)
    if ROOT in reader.values:
        configuration: model.Configuration = schema.make(model.Configuration, reader.values)
        problems += _problems_of(configuration, reader, machine)
        if not problems:
            return evolve(configuration, notices=tuple(check.notices(configuration)))
    # The order of the file; what stands in no file comes last. Sorting keeps the order of equals.
    problems.sort(key=lambda each: (not each.line, each.line, each.column))
    raise ConfigurationError(problems, reader.values.get("logging.path"))


def _problems_of(configuration: model.Configuration, reader: Reader, machine: Machine | None) -> Iterator[Problem]:
    """What the checks find, with its place. What rests on a key that is wrong by itself is left out."""

    def where(name: str) -> str:
        place = reader.place(name)
        return f" ({place})" if place is not None else ""

    for each in check.findings(configuration, where, machine):
        names = (each.key, *each.others)
        if not any(reader.is_bad(name) for name in names):
            place = next((place for name in names if (place := reader.place(name)) is not None), None)
            yield reader.problem(each.key, each.text, place)


def _apply_servers(reader: Reader) -> None:
    """A sync service of the list that is here is another way to write ``network.sync``."""
    servers = reader.values.get("sync.servers", ())
    if len(servers) != 1 or not servers[0].is_here or reader.has_bad_part("sync.servers"):
        return
    for name, alias, value in (
        ("network.sync.listen_address", "sync.servers[0].address", model.LOCAL[servers[0].address]),
        ("network.sync.listen_port", "sync.servers[0].port", servers[0].port),
    ):
        given = reader.values.setdefault(name, value)
        place = reader.places.setdefault(name, reader.places[alias])
        if given != value:
            text = f"means {value}, but {name} is {given} ({place}); both set the same listener, leave one of them out"
            reader.complain(alias, text)


def _apply_options(reader: Reader, options: Options) -> None:
    _apply(reader, ROOT, "--root", options.root)
    _apply(reader, KEY_PATHS[0], "--public-key", options.public_key)
    _apply(reader, KEY_PATHS[1], "--private-key", options.private_key)
    if ROOT not in reader.values and not reader.is_bad(ROOT):
        _apply(reader, ROOT, "--default-root", options.default_root)
    if _only_forwards(reader):
        for name in (ROOT, *KEY_PATHS):
            reader.values.setdefault(name, model.NOWHERE)
        return
    given = [name for name in KEY_PATHS if name in reader.values]
    if len(given) == 1 and not any(reader.is_bad(name) for name in KEY_PATHS):
        other = next(name for name in KEY_PATHS if name not in given)
        reader.complain(given[0], f"is set, but not {other}, and the two go together; set both or neither")
    if ROOT not in reader.values:
        if not reader.is_bad(ROOT):
            reader.complain(ROOT, "not set; name the data directory with --root, or in the file")
        reader.values[ROOT] = model.NOWHERE  # it is bad, so nothing that rests on it is told
    for name, file_name in zip(KEY_PATHS, model.KEY_FILE_NAMES, strict=True):
        reader.values.setdefault(name, reader.values[ROOT] / "keys" / file_name)
        if reader.is_bad(ROOT) and name not in reader.places:
            reader.bad.add(name)


def _only_forwards(reader: Reader) -> bool:
    """Whether both services run elsewhere, so that nothing is kept here."""
    servers = reader.values.get("sync.servers", ())
    return "network.http.forward_to" in reader.values and len(servers) == 1 and not servers[0].is_here


def _apply(reader: Reader, name: str, option: str, value: str | None) -> None:
    if value is None:
        return
    try:
        reader.values[name] = A_PATH(value)
    except BadValue as error:
        reader.complain(name, str(error), option)
        return
    # What the file says there no longer counts; if it is wrong, that is told all the same.
    reader.bad.discard(name)
    reader.places[name] = option
