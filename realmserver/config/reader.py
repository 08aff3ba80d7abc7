"""From a YAML file to values by dotted key, each with its place, and everything that is wrong with them.

A file is read by the classes of ``config.model``: which keys there are and what each may hold is said there. All
problems are gathered. What is right is kept besides, so that ``config.load`` can check it with the rest; ``bad`` says
of which keys nothing is known (``spec/http-api.md`` 6.1).
"""

import difflib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import attrs
import yaml
from attrs import define, evolve, field, frozen

from realmserver.config import model, schema, syntax
from realmserver.config.kinds import BadValue
from realmserver.config.problem import Problem
from realmserver.config.providers import CUSTOM, CUSTOM_NAME, Custom, Providers
from realmserver.config.schema import LISTED, Key

MAX_FILE_SIZE: Final = 1 << 18
"""Bytes. The commented file of the manual has 13,000; a file this large is not a configuration."""

MAX_PROBLEMS: Final = 100
"""Reading ends there: a file with more is no configuration, and looking for what was meant takes its time."""

MAX_WORD: Final = 100
"""Characters of a key; the longest has 22, and a provider's name adds some."""

MAX_OPTIONS: Final = 1000
"""Values in the options of one custom provider, references resolved: a small file can stand for a huge tree."""

MAX_DEPTH: Final = 20
"""Of the same."""


@frozen
class Place:
    """Where in the file; both count from 1."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"line {self.line}"


@define
class Reader:
    """``values`` by dotted key as far as they are right, and ``places``: where in the file, or by which option, each
    was given. ``file`` is the name for messages."""

    file: str | None
    values: dict[str, Any] = field(factory=dict)
    places: dict[str, Place | str] = field(factory=dict)
    problems: list[Problem] = field(factory=list)
    bad: set[str] = field(factory=set)
    lines: list[str] = field(factory=list)

    def complain(self, name: str, text: str, at: Place | str | None = None) -> None:
        """``text`` is wrong about the key ``name``, seen at ``at`` or where that key was given."""
        self.bad.add(name)
        self.problems.append(self.problem(name, text, at if at is not None else self.place(name)))

    def problem(self, name: str, text: str, at: Place | str | None) -> Problem:
        """The same as a value, not taken down."""
        if not isinstance(at, Place):
            return Problem(name, text, option=at)
        shown = self.lines[at.line - 1] if at.line <= len(self.lines) else ""
        return Problem(name, text, self.file, at.line, at.column, shown)

    def place(self, name: str) -> Place | str | None:
        """Where ``name`` was given."""
        return self.places.get(name)

    def is_bad(self, name: str) -> bool:
        """Whether a problem was found with this key, or with its section, or with the file as a whole."""
        return "" in self.bad or any(name == each or name.startswith((f"{each}.", f"{each}[")) for each in self.bad)

    def has_bad_part(self, name: str) -> bool:
        """Whether a problem was found with this section or anything below it."""
        return self.is_bad(name) or any(each.startswith((f"{name}.", f"{name}[")) for each in self.bad)

    def read_file(self) -> bool:
        """Read the file; False if there is nothing to go on with."""
        assert self.file is not None
        try:
            with Path(self.file).open("rb") as stream:
                raw = stream.read(MAX_FILE_SIZE + 1)
        except (OSError, ValueError) as error:
            cause = error.strerror if isinstance(error, OSError) else "its name cannot be a file's"
            self.problems.append(Problem("", f"cannot be read: {cause}; name another file", self.file))
            return False
        if len(raw) > MAX_FILE_SIZE:
            text = f"has more than {MAX_FILE_SIZE:,} bytes, which is no configuration; name another file"
            self.problems.append(Problem("", text, self.file))
            return False
        return self.read(raw)

    def read(self, raw: bytes) -> bool:
        """Read the content of a file; False if it is not YAML."""
        self.lines = syntax.lines_of(raw)
        try:
            root = syntax.compose(raw)
        except syntax.SyntaxProblem as error:
            if error.line:
                self.problems.append(self.problem("", error.text, Place(error.line, error.column)))
            else:
                self.problems.append(Problem("", error.text, self.file))
            return False
        if root is not None and not _is_null(root):
            self.read_section(model.Configuration, "", root)
        return True

    def read_section(self, cls: type, prefix: str, node: yaml.Node) -> None:
        """Read what stands below ``prefix`` ("" or "auth." …)."""
        for word, key_node, value in self.pairs(cls, prefix, node):
            name = prefix + word
            attribute = next((each for each in attrs.fields(cls) if schema.word_of(each) == word), None)
            if attribute is not None and "section" in attribute.metadata:
                self.read_subsection(attribute.metadata, name, key_node, value)
            elif attribute is not None and "entries" in attribute.metadata:
                self.read_entries(attribute.metadata["entries"], name, value)
            elif attribute is not None and "kind" in attribute.metadata:
                self.read_value(attribute.metadata["kind"], name, key_node, value)
            elif cls is Providers and word.startswith(CUSTOM):
                self.read_custom(word, name, key_node, value)
            else:
                self.unknown(cls, prefix, word, key_node)

    def pairs(self, cls: type, prefix: str, node: yaml.Node) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
        """The keys of a map, each once; what is no map, or no key, is told."""
        if _is_null(node):
            return
        if not isinstance(node, yaml.MappingNode):
            words = words_of(cls)
            some = f"must hold keys, one a line; write for example {words[0]}: …" if words else "has no options"
            what = "" if prefix else "the file "
            self.complain(prefix[:-1], what + some, _place(node))
            return
        seen: dict[str, Place] = {}
        for key_node, value in node.value:
            place = _place(key_node)
            if len(self.problems) >= MAX_PROBLEMS:
                self.problems.append(self.problem("", "from here on nothing was read; mend the above first", place))
                break
            if not _is_word(key_node):
                self.complain(prefix[:-1], "a key must be a word; write it as key: value", place)
            elif key_node.tag == "tag:yaml.org,2002:merge":
                self.complain(prefix[:-1], "keys are not merged by <<; write them out", place)
            elif key_node.value in seen:
                text = f"given twice, first in {seen[key_node.value]}; keep one of them"
                self.complain(prefix + key_node.value, text, place)
            else:
                seen[key_node.value] = place
                yield key_node.value, key_node, value

    def read_subsection(self, about: Any, name: str, key_node: yaml.Node, value: yaml.Node) -> None:
        cls = about["section"]
        self.places[name] = _place(key_node)
        if self.has_foreign_tag(name, value):
            return
        self.read_section(cls, name + ".", value)
        if about.get("optional"):
            self.values[name] = LISTED
            self.check_complete(cls, name, _place(key_node))

    def check_complete(self, cls: type, name: str, place: Place) -> None:
        """Every key without a default is there."""
        for key in schema.keys_of(cls, name + "."):
            if key.is_required and key.name not in self.values and not self.is_bad(key.name):
                self.complain(key.name, f"is missing; write below {name}: {key.word}: {key.kind.example}", place)
            if key.is_required:
                self.values.setdefault(key.name, model.NOWHERE)  # what is right beside it is checked all the same

    def read_value(self, kind: Any, name: str, key_node: yaml.Node, value: yaml.Node) -> None:
        """The value of one key. Nothing behind the colon means the default."""
        if self.has_foreign_tag(name, value):
            return
        place = _place(value) if _index(value) >= _index(key_node) else _place(key_node)  # an alias is elsewhere
        try:
            found = self.found(value)
            if found is not None:
                self.values[name] = kind(found)
                self.places[name] = place
        except BadValue as error:
            if error.item is not None:
                place = _place(value.value[error.item])
            self.complain(name, str(error), place)

    def found(self, node: yaml.Node) -> object:
        """What a kind is given. Raises :class:`BadValue` for what no kind takes."""
        if isinstance(node, yaml.ScalarNode):
            if syntax.is_plain(node) and node.value[:1] and node.value[0] in syntax.QUOTES:
                plain = node.value.strip(syntax.QUOTES)
                raise BadValue(f"is in typographic quotes; write plain ones: '{plain[:MAX_WORD]}'")
            return syntax.scalar(node)
        if isinstance(node, yaml.MappingNode):
            return dict.fromkeys(range(len(node.value)))  # no kind takes a map
        items = []
        for number, each in enumerate(node.value):
            try:
                items.append(self.found(each) if isinstance(each, yaml.ScalarNode) else {})
            except BadValue as error:
                raise BadValue(str(error), number) from error
        return items

    def has_foreign_tag(self, name: str, node: yaml.Node) -> bool:
        tag = syntax.foreign_tag(node)
        if tag is not None:
            self.complain(name, f"the tag {tag} has no meaning here; leave it out", _place(node))
        return tag is not None

    def read_entries(self, cls: type, name: str, node: yaml.Node) -> None:
        """A list of maps."""
        if _is_null(node):
            return
        if not isinstance(node, yaml.SequenceNode):
            words = ", ".join(f"{key.word}: {key.kind.example}" for key in schema.keys_of(cls))
            self.complain(name, f"must be a list of entries; write for example - {{{words}}}", _place(node))
            return
        self.places[name] = _place(node)
        made = []
        for number, each in enumerate(node.value):
            item = f"{name}[{number}]"
            self.places[item] = _place(each)
            self.read_section(cls, item + ".", each)
            self.check_complete(cls, item, _place(each))
            if not self.has_bad_part(item):
                made.append(schema.make(cls, self.values, item + "."))
        if len(made) < len(node.value):
            self.bad.add(name)
        self.values[name] = tuple(made)

    def read_custom(self, word: str, name: str, key_node: yaml.Node, value: yaml.Node) -> None:
        """A provider of the operator's own: two keys are ours, all others its options."""
        place = _place(key_node)
        self.places[name] = place
        if not re.fullmatch(CUSTOM_NAME, word.removeprefix(CUSTOM)):
            text = f"the name after {CUSTOM} has 1 to 64 letters, digits, _ and -; write for example custom/twitter"
            self.complain(name, text, place)
            return
        ours: dict[str, Key] = {key.word: key for key in schema.keys_of(Custom)}
        options: dict[str, Any] = {}
        for option, option_node, option_value in self.pairs(Custom, name + ".", value):
            if option in ours:
                self.read_value(ours[option].kind, f"{name}.{option}", option_node, option_value)
                continue
            try:
                options[option] = _plain(option_value, [MAX_OPTIONS], MAX_DEPTH)
            except BadValue as error:
                self.complain(f"{name}.{option}", str(error), _place(option_node))
        self.check_complete(Custom, name, place)
        if not self.has_bad_part(name):
            made = schema.make(Custom, self.values, name + ".")
            others = self.values.get("auth.providers.custom", ())
            self.values["auth.providers.custom"] = (*others, evolve(made, name=word, options=options))

    def unknown(self, cls: type, prefix: str, word: str, key_node: yaml.Node) -> None:
        name = prefix + word
        if cls is Providers:
            text = f"there is no provider {word}{_providers_advice(word)}"
            self.complain(name, text, _place(key_node))
            return
        near, advice = nearest(cls, prefix, word)
        self.complain(name, f"there is no such key; {advice}", _place(key_node))
        if prefix:
            self.bad.add(prefix[:-1])  # one of its keys was meant, and it is not known which
        self.bad.update(near)


def _is_word(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and 0 < len(node.value) <= MAX_WORD and node.value.isprintable()


def words_of(cls: type) -> list[str]:
    """The words that may stand directly in a section."""
    return [schema.word_of(each) for each in attrs.fields(cls) if each.metadata and "own" not in each.metadata]


def nearest(cls: type, prefix: str, word: str) -> tuple[list[str], str]:
    """The known keys that may have been meant by an unknown one, and the advice to write one of them."""
    words = words_of(cls)
    close = difflib.get_close_matches(word.lower(), [each.lower() for each in words], 1)
    if close:
        meant = [prefix + each for each in words if each.lower() == close[0]]
    else:
        known = [name for name in _all_names() if name != prefix.rpartition(".")[0]]
        meant = [name for name in known if name.rpartition(".")[2] == word]
        meant = meant or difflib.get_close_matches(prefix + word, known, 1, cutoff=0.75)
    if meant:
        return meant, f"did you mean {' or '.join(meant)}?"
    where = f"{prefix[:-1]} holds" if prefix else "the sections are"
    return [], f"{where} {', '.join(words)}" if words else f"{prefix[:-1]} has no options"


def _all_names() -> list[str]:
    """Keys and sections, in the order of the manual."""
    names: dict[str, None] = {}
    for key in schema.all_keys(model.Configuration):
        parts = key.name.split(".")
        names.update((".".join(parts[:count]), None) for count in range(1, len(parts) + 1))
    return list(names)


def _providers_advice(word: str) -> str:
    words = words_of(Providers)
    close = difflib.get_close_matches(word.lower(), words, 1)
    own = re.sub(r"[^A-Za-z0-9_-]", "", word) or "name"
    first = f"did you mean {close[0]}? " if close else f"there are {', '.join(words)}. "
    return f"; {first}A provider of your own is named {CUSTOM}{own}"


def _plain(node: yaml.Node, budget: list[int], depth: int) -> Any:
    """A provider's own option as YAML has it. ``budget`` is one number: the values that may still come."""
    budget[0] -= 1
    if budget[0] < 0 or depth < 0:
        raise BadValue(f"holds more than {MAX_OPTIONS} values, or {MAX_DEPTH} levels; write less")
    if isinstance(node, yaml.SequenceNode):
        return [_plain(each, budget, depth - 1) for each in node.value]
    if isinstance(node, yaml.MappingNode):
        pairs = ((_plain(name, budget, depth - 1), _plain(value, budget, depth - 1)) for name, value in node.value)
        return {name if isinstance(name, str) else str(name): value for name, value in pairs}
    assert isinstance(node, yaml.ScalarNode)
    if node.tag == "tag:yaml.org,2002:float":
        try:
            return float(node.value)
        except ValueError:
            return node.value
    return syntax.scalar(node)


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and syntax.scalar(node) is None


def _place(node: yaml.Node) -> Place:
    return Place(node.start_mark.line + 1, node.start_mark.column + 1)


def _index(node: yaml.Node) -> int:
    return int(node.start_mark.index)
