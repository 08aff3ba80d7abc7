"""From the bytes of a file to YAML's nodes, and what the parser says in words that help.

Nothing is constructed here: nodes keep their places, and no tag of a file makes anything happen. Aliases are the node
they stand for, so that a file full of references takes no more than its own length.
"""

import re
from typing import Final

import yaml
from attrs import frozen

QUOTES: Final = "‘’‚‛“”„‟«»‹›"
"""Quotation marks of print, which end up in files by way of a word processor or a web page."""

LINE_BREAK: Final = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
"""Where YAML begins a new line."""

PLAIN_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]{0,17})")
"""YAML 1.1 also takes 010 for eight and 9:30 for 570; a configuration that means that does not exist."""

_EXPLANATIONS: Final[tuple[tuple[str, str], ...]] = (
    (r"found character '\\t'", "a tab stands here; indent with spaces"),
    (
        r"found character '(.)' that cannot start any token",
        "a value that begins with {0} is not plain text; put it in quotes",
    ),
    (
        r"could not find expected ':'",
        "this line has no colon after its key; write it as key: value",
    ),
    (r"unexpected end of stream", "a quotation mark is opened here and not closed; close it"),
    (r"found unexpected document separator", "a quotation mark is opened before and not closed; close it"),
    (r"expected ',' or '([]}])'", "a bracket is opened here and not closed; close it with {0}"),
    (
        r"but found '<block (mapping|sequence) start>'",
        "this line is indented differently from what it belongs to; keys of one section begin in the same column",
    ),
    (
        r"expected <block end>, but found '-'",
        "a list item stands among keys; indent it below the key that it belongs to",
    ),
    (
        r"expected <block end>, but found '?.*",
        "this does not belong here; keys of one section begin in the same column, and special characters are quoted",
    ),
    (
        r"found undefined alias '?([^']*)'?",
        "*{0} refers to something that is named nowhere; put it in quotes if it is text",
    ),
    (r"while scanning an (alias|anchor)", "a value that begins with * or & is not plain text; put it in quotes"),
    (r"found duplicate anchor", "this name is given twice; leave the & and the name out"),
    (r"but found another document", "a second document begins here; keep one and remove the line ---"),
    (r"expected the node content, but found '?([^']*)'?", "{0} stands where a value belongs; put it in quotes"),
    (r"found unknown escape character", "a backslash stands in double quotes; write single quotes around the value"),
    (r"could not determine a constructor|found undefined tag handle", "this tag is unknown; leave it out"),
)


SECOND_COLON: Final = "a second colon stands in this line; put a value that holds a colon in quotes"
DEEPER: Final = (
    "this line is indented deeper than the one above, or that one has no colon; keys of one section begin in the same "
    "column"
)


@frozen
class SyntaxProblem(Exception):
    """The file cannot be read as YAML. ``line`` and ``column`` count from 1; 0 is no place."""

    text: str
    line: int = 0
    column: int = 0


def lines_of(raw: bytes) -> list[str]:
    """The lines of the file, for messages; what is no text is replaced."""
    return LINE_BREAK.split(raw.decode("utf-8-sig", "replace"))


def compose(raw: bytes) -> yaml.Node | None:
    """The file's root, None where it is empty. Raises :class:`SyntaxProblem`."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = LINE_BREAK.split(raw[: error.start].decode("utf-8-sig"))
        raise SyntaxProblem(
            "this is not UTF-8 text; save the file as UTF-8", len(before), len(before[-1]) + 1
        ) from error
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.reader.ReaderError as error:
        before = LINE_BREAK.split(text[: error.position])
        raise SyntaxProblem("a control character stands here; remove it", len(before), len(before[-1]) + 1) from error
    except yaml.MarkedYAMLError as error:
        raise _explained(error, LINE_BREAK.split(text)) from error
    except yaml.YAMLError as error:
        raise SyntaxProblem("this is not YAML; write one key a line, with a colon and a value") from error
    except (ValueError, OverflowError) as error:  # of the parser's: an escape beyond the last character
        raise SyntaxProblem("a number or an escape is too large; write what is meant without a backslash") from error
    except RecursionError as error:
        raise SyntaxProblem("brackets or sections are nested too deeply; nothing here needs more than five") from error


def _explained(error: yaml.MarkedYAMLError, lines: list[str]) -> SyntaxProblem:
    said = ", ".join(part for part in (error.context, error.problem) if part)
    mark = error.problem_mark or error.context_mark
    if error.context_mark is not None and re.search(
        r"unexpected end of stream|expected ',' or|could not find expected|expected alphabetic", error.problem or ""
    ):
        mark = error.context_mark  # where it was opened, not where the file ends
    line, column = (mark.line, mark.column) if mark is not None else (-1, -1)
    text = "the parser says: " + said
    if "mapping values are not allowed here" in said:
        indentation = len(lines[line]) - len(lines[line].lstrip())
        text, column = (SECOND_COLON, column) if ":" in lines[line][:column] else (DEEPER, indentation)
    for pattern, explanation in _EXPLANATIONS:
        match = re.search(pattern, said)
        if match:
            text = explanation.format(*match.groups())
            break
    if mark is not None and line >= len(lines):
        line, column = len(lines) - 1, len(lines[-1])
    if 0 <= line < len(lines):
        before = lines[line][: len(lines[line]) - len(lines[line].lstrip())]
        if "\t" in before:
            text, column = "a tab stands here; indent with spaces", before.index("\t")
    return SyntaxProblem(f"not valid YAML: {text}", line + 1, column + 1)


def is_plain(node: yaml.ScalarNode) -> bool:
    """Whether the scalar stands without quotes in one line."""
    return node.style is None


def scalar(node: yaml.ScalarNode) -> object:
    """What a configuration means by a scalar: YAML 1.1's other words for true and false, its other forms of numbers,
    and dates stay words, since a level may be ``off``, and ``enable: yes`` should be answered with advice."""
    if node.tag == "tag:yaml.org,2002:null":
        return None
    if node.tag == "tag:yaml.org,2002:bool" and node.value.lower() in ("true", "false"):
        return bool(node.value.lower() == "true")
    if node.tag == "tag:yaml.org,2002:int" and PLAIN_NUMBER.fullmatch(node.value):
        return int(node.value)
    return node.value


def foreign_tag(node: yaml.Node) -> str | None:
    """A tag that is not one of YAML's own, as it stands in the file."""
    tag = str(node.tag)
    return (
        None
        if tag.startswith("tag:yaml.org,2002:") and ":python/" not in tag
        else tag.replace("tag:yaml.org,2002:", "!!")
    )
