"""From a YAML file and command-line options to a :class:`~realmserver.config.model.Configuration`.

Whatever is wrong is gathered and reported in one go, each with file and line, the key, what is wrong and what to write
(``spec/http-api.md`` 6.1). Options override the file. What the keys mean is in ``model``; what must hold between them
and on this machine is in ``check``.
"""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml
from attrs import define, field, frozen

from realmserver.config import check, model

MAX_FILE_SIZE: Final = 1 << 20
"""Bytes. The commented file of the manual has 13,000; a file this large is not a configuration."""

MAX_LINE_SHOWN: Final = 120
"""Characters of a faulty line that a message repeats."""


class ConfigurationError(Exception):
    """The configuration is wrong. ``problems`` are ready to print, one line or a few each; ``log_path`` is the log they
    belong into as well (section 6.1), None where none is configured."""

    def __init__(self, problems: Sequence[str], log_path: Path | None = None) -> None:
        super().__init__("\n".join(problems))
        self.problems: tuple[str, ...] = tuple(problems)
        self.log_path: Path | None = log_path


@frozen
class Options:
    """What the command line says; None where it is silent. ``default_root`` counts only if nothing names a root."""

    root: str | None = None
    public_key: str | None = None
    private_key: str | None = None
    default_root: str | None = None


def load(file: str | None, options: Options | None = None) -> model.Configuration:
    """Read ``file`` (None: all defaults), let ``options`` override it, and check the result.

    Raises :class:`ConfigurationError` with all problems found.
    """
    reader = _Reader(file or "")
    if file is not None:
        reader.read_file(file)
    reader.apply_options(options or Options())
    log_path = reader.values.get("logging.path")
    if reader.problems:
        raise ConfigurationError(reader.problems, log_path)
    configuration = model.make(reader.values, tuple(reader.notices))
    problems = [reader.problem_at(name, text) for name, text in check.problems(configuration)]
    if problems:
        raise ConfigurationError(problems, log_path)
    notices = configuration.notices + tuple(check.notices(configuration))
    return model.make(reader.values, notices)


def _is_empty(node: yaml.Node) -> bool:
    if isinstance(node, yaml.ScalarNode):
        return _value(node) is None
    return not node.value


def _is_off(node: yaml.Node) -> bool:
    """Empty, or not switched on: ``enable`` is there and false."""
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value == "enable" and isinstance(value, yaml.ScalarNode):
                return _value(value) is False
    return _is_empty(node)


def _has_only_standing_providers(node: yaml.Node) -> bool:
    """Only the providers that are always on (section 6.2)."""
    if isinstance(node, yaml.MappingNode):
        return all(name.value in ("realm", "password") and _is_empty(value) for name, value in node.value)
    return _is_empty(node)


LATER: Final = {
    "auth.sync_hosts": _is_empty,
    "auth.providers_include_path": _is_empty,
    "auth.providers": _has_only_standing_providers,
    "proxy.https": _is_off,
    "sync": _is_empty,
    "sync.servers": _is_empty,
}
"""Keys of the manual that this version cannot serve yet, each with the test of a value that asks for nothing."""

IGNORED: Final = {"backup": "Backups of a running server need no backup service; the section backup is ignored."}
"""Keys of the manual that are accepted without effect (section 6.2), and what the operator is told."""


def _value(node: yaml.ScalarNode) -> object:
    """What YAML makes of a scalar, except that YAML's other words for true and false stay words: a level may be
    ``off``, and ``enable: yes`` should be answered with advice. A number YAML cannot hold stays a word, too."""
    if node.tag == "tag:yaml.org,2002:bool" and node.value.lower() not in ("true", "false"):
        return node.value
    if node.tag not in ("tag:yaml.org,2002:null", "tag:yaml.org,2002:bool", "tag:yaml.org,2002:int"):
        return node.value
    try:
        return yaml.constructor.SafeConstructor().construct_object(node)
    except (ValueError, yaml.YAMLError):
        return node.value


@define
class _Reader:
    """Values by dotted key as far as they are right, where each was found, and the problems."""

    file: str
    values: dict[str, Any] = field(factory=dict)
    places: dict[str, str] = field(factory=dict)
    problems: list[str] = field(factory=list)
    notices: list[str] = field(factory=list)
    kinds: Mapping[str, model.Kind] = field(factory=lambda: dict(model.all_keys()))

    def problem_at(self, name: str, text: str) -> str:
        """``text`` about the key ``name``, with the place of that key if it was given anywhere."""
        place = self.places.get(name)
        return f"{place}: {name}: {text}" if place else f"{name}: {text}"

    def complain(self, node: yaml.Node, text: str) -> None:
        self.problems.append(f"{self.place(node)}: {text}")

    def place(self, node: yaml.Node) -> str:
        return f"{self.file}:{node.start_mark.line + 1}"

    def read_file(self, file: str) -> None:
        try:
            with Path(file).open("rb") as stream:
                raw = stream.read(MAX_FILE_SIZE + 1)
        except OSError as error:
            self.problems.append(f"{file}: cannot be read: {error.strerror}")
            return
        if len(raw) > MAX_FILE_SIZE:
            self.problems.append(f"{file}: larger than {MAX_FILE_SIZE} bytes: this is not a configuration file")
            return
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            self.problems.append(f"{file}:{line}: not UTF-8 text: save the file as UTF-8")
            return
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            self.problems.append(self.yaml_problem(error, text))
            return
        if root is not None:
            self.read_section("", root)

    def yaml_problem(self, error: yaml.YAMLError, text: str) -> str:
        """What the YAML parser says, with the line shown."""
        what, line = "this is not YAML", 0
        if isinstance(error, yaml.MarkedYAMLError):
            mark = error.problem_mark or error.context_mark
            line = mark.line if mark is not None else 0
            what = ", ".join(part for part in (error.context, error.problem) if part) or what
        elif isinstance(error, yaml.reader.ReaderError):
            line = text.count("\n", 0, error.position)
            what = "a control character stands here"
        lines = text.splitlines()
        shown = lines[line].strip()[:MAX_LINE_SHOWN] if line < len(lines) else ""
        if shown[:1] in ("@", "`", "%") or "\t" in (lines[line] if line < len(lines) else ""):
            what += " (indent with spaces, not tabs, and put values with special characters in plain quotes)"
        return f"{self.file}:{line + 1}: not valid YAML: {what}\n    {shown!r}"

    def read_section(self, prefix: str, node: yaml.Node) -> None:
        """Read what stands below ``prefix`` ("" or "auth." …)."""
        if _is_empty(node):
            return
        if not isinstance(node, yaml.MappingNode):
            name = prefix[:-1] or "the file"
            some = next(key for key in self.kinds if key.startswith(prefix))[len(prefix) :].split(".")[0]
            self.complain(node, f"{name}: must hold keys, one a line with a colon, for example {some}: …")
            return
        seen: set[str] = set()
        for key_node, value in node.value:
            word = key_node.value if isinstance(key_node, yaml.ScalarNode) else "?"
            name = prefix + word
            if name in seen:
                self.complain(key_node, f"{name}: given twice; keep one of them")
                continue
            seen.add(name)
            self.read_key(name, key_node, value)

    def read_key(self, name: str, key_node: yaml.Node, value: yaml.Node) -> None:
        if name in self.kinds:
            self.read_value(name, key_node, value)
        elif any(known.startswith(name + ".") for known in self.kinds):
            self.read_section(name + ".", value)
        elif name in LATER:
            if not LATER[name](value) and not self.has_known_later_keys_only(name, value):
                self.complain(
                    key_node, f"{name}: known from the manual, but not supported by this version yet; leave it out"
                )
        elif name in IGNORED:
            if not _is_off(value):
                self.notices.append(IGNORED[name])
        else:
            self.complain(key_node, f"{name}: there is no such key{self.advice(name)}")

    def has_known_later_keys_only(self, name: str, value: yaml.Node) -> bool:
        """Whether a section of LATER holds nothing but other keys of LATER that ask for nothing."""
        if not isinstance(value, yaml.MappingNode):
            return False
        below = ((f"{name}.{key.value}", node) for key, node in value.value)
        return all(full in LATER and LATER[full](node) for full, node in below)

    def read_value(self, name: str, key_node: yaml.Node, value: yaml.Node) -> None:
        found: object = value.value
        if isinstance(value, yaml.ScalarNode):
            found = _value(value)
            if found is None:  # "key:" with nothing behind it means the default
                return
        try:
            self.values[name] = self.kinds[name](found)
            self.places[name] = self.place(key_node)
        except model.BadValue as error:
            self.complain(value, f"{name}: {error}")

    def advice(self, name: str) -> str:
        """What may have been meant by an unknown key."""
        known = {*self.kinds, *LATER, *IGNORED}
        for key in list(known):
            parts = key.split(".")
            known.update(".".join(parts[:count]) for count in range(1, len(parts)))
        parent, _, word = name.rpartition(".")
        siblings = {key.rpartition(".")[2]: key for key in known if key.rpartition(".")[0] == parent}
        close = difflib.get_close_matches(word, siblings, 1)
        if close:
            return f"; did you mean {siblings[close[0]]}?"
        elsewhere = sorted(key for key in known if key.rpartition(".")[2] == word)
        elsewhere = elsewhere or difflib.get_close_matches(name, sorted(known - {parent}), 1, cutoff=0.75)
        if elsewhere:
            return f"; did you mean {' or '.join(elsewhere)}?"
        where = f"{parent} holds" if parent else "the sections are"
        return f"; {where} {', '.join(sorted(siblings))}"

    def apply_options(self, options: Options) -> None:
        self.apply_option("storage.root_path", "--root", options.root)
        self.apply_option("auth.public_key_path", "--public-key", options.public_key)
        self.apply_option("auth.private_key_path", "--private-key", options.private_key)
        if "storage.root_path" not in self.values and not self.problems:
            self.apply_option("storage.root_path", "--default-root", options.default_root)
        root = self.values.get("storage.root_path")
        if root is None:
            if not self.problems:
                self.problems.append("storage.root_path: not set; name the data directory with --root, or in the file")
            return
        names = ("auth.public_key_path", "auth.private_key_path")
        given = [name for name in names if name in self.values]
        if len(given) == 1:
            self.problems.append(self.problem_at(given[0], f"{' and '.join(names)} go together; give both or neither"))
        for name, file_name in zip(names, model.KEY_FILE_NAMES, strict=True):
            self.values.setdefault(name, root / "keys" / file_name)

    def apply_option(self, name: str, option: str, value: str | None) -> None:
        if value is None:
            return
        try:
            self.values[name] = self.kinds[name](value)
            self.places[name] = option
        except model.BadValue as error:
            self.problems.append(f"{option}: {error}")
