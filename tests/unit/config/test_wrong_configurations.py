"""Every wrong file gives its messages in full, with the right line and column: read in process, and by the command."""

import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from attrs import frozen
from wrong_files import NAME, WrongFile, cases, make_surroundings, place_names

from realmserver import tap
from realmserver.config import machine
from realmserver.config.load import ConfigurationError, Options, load
from realmserver.config.machine import Machine, Refusal

CASES = cases()

real_refusal = machine.refusal

ANOTHERS_ADDRESS = "192.0.2.1"
"""Of documentation's (RFC 5737): no machine has it."""


@frozen
class Surroundings:
    """The directory with the files that the cases name, and a port that is taken."""

    directory: Path
    port: int

    def refusal(self, address: str, port: int) -> Refusal | None:
        """The machine's own answer, but only where a case is about it: a test must not fail because of a neighbour."""
        if port == self.port or address == ANOTHERS_ADDRESS:
            return real_refusal(address, port)
        return None


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surroundings]:
    directory = tmp_path_factory.mktemp("wrong")
    make_surroundings(directory)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield Surroundings(directory, taken.getsockname()[1])


@pytest.fixture
def surroundings(made: Surroundings, monkeypatch: pytest.MonkeyPatch) -> Surroundings:
    monkeypatch.chdir(made.directory)
    return made


def write(case: WrongFile, surroundings: Surroundings) -> None:
    Path(NAME).write_bytes(case.content.replace(b"{port}", str(surroundings.port).encode()))


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 75
    assert all(case.messages.strip() for case in CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_wrong_file_is_told_with_place_and_cure(case: WrongFile, surroundings: Surroundings) -> None:
    write(case, surroundings)
    options = Options(case.options.get("root"), default_root=case.options.get("default-root"))
    with pytest.raises(ConfigurationError) as caught:
        load(NAME, options, Machine(datetime.now(UTC), surroundings.refusal))
    told = "".join(f"{problem}\n" for problem in caught.value.problems)
    assert place_names(told, surroundings.directory, surroundings.port) == case.messages


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_command_says_the_same_and_exits_with_1(
    case: WrongFile,
    surroundings: Surroundings,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(machine, "refusal", surroundings.refusal)
    write(case, surroundings)
    options = tap.Options()  # type: ignore[no-untyped-call]
    given = [f"--{name}={value}" for name, value in case.options.items()]
    options.parseOptions(["--check-configuration", NAME, *given])  # type: ignore[no-untyped-call]
    with pytest.raises(SystemExit) as caught:
        tap.makeService(options)
    assert caught.value.code == 1
    printed = capfd.readouterr()
    assert printed.out == ""
    assert "Traceback" not in printed.err
    told = place_names(printed.err, surroundings.directory, surroundings.port)
    lines = [line.removeprefix("error: ") for line in told.splitlines(keepends=True)]
    assert "".join(lines) == case.messages
    assert not (surroundings.directory / "data").exists(), "nothing is made"
