"""What breaks a target is found, kept once, made small, and can be repeated; what is documented is no finding."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from fuzz.__main__ import main
from fuzz.mutate import Mutator
from fuzz.recorder import SLOW, Recorder
from fuzz.runner import run_plain
from fuzz.source import Source
from fuzz.target import Check, Target
from fuzz.targets import NAMES


def target(check: Check, *tokens: bytes) -> Target:
    return Target("a test's", check, lambda: [b""], tokens, longest=50)


def breaks_at_bang(data: bytes) -> None:
    if b"!" in data:
        raise KeyError(data)


class Ticks:
    """A clock that says what it is told to, a little more each time."""

    def __init__(self, step: float) -> None:
        self.now = 0.0
        self.step = step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.fixture
def said() -> list[str]:
    return []


def recorder(check: Check, directory: Path, said: list[str], step: float = 0.0) -> Recorder:
    return Recorder("some", target(check), directory, said.append, Ticks(step))


def test_a_finding_is_kept_once_and_small(tmp_path: Path, said: list[str]) -> None:
    made = recorder(breaks_at_bang, tmp_path, said)
    for data in (b"fine", b"some text! and more", b"another!"):
        made.run(data)
    [(place, file)] = made.findings.items()
    assert place.startswith("KeyError at test_fuzz_runner.py:")
    assert file.read_bytes() == b"!"
    assert list(tmp_path.iterdir()) == [file]
    assert f"repeat: python -m fuzz some --repeat {file}" in "\n".join(said)
    assert made.runs == 3


def test_an_input_that_takes_long_is_a_finding(tmp_path: Path, said: list[str]) -> None:
    made = recorder(lambda data: None, tmp_path, said, step=SLOW + 1)
    made.run(b"x")
    assert [place.split(" ")[0] for place in made.findings] == ["TooSlow"]


def test_mutations_find_what_the_corpus_is_near_to_and_a_seed_repeats_them(tmp_path: Path, said: list[str]) -> None:
    seen: list[list[bytes]] = []
    for _ in range(2):
        tried: list[bytes] = []

        def check(data: bytes, tried: list[bytes] = tried) -> None:
            tried.append(data)
            breaks_at_bang(data)

        made = Recorder("some", target(check, b"?!"), tmp_path, said.append, Ticks(0.0))
        outcome = run_plain(made, [b"one", b"two"], seconds=300, seed=5, clock=Ticks(1.0))
        assert outcome.runs == made.runs
        assert len(made.findings) == 1
        seen.append(tried)
    assert seen[0] == seen[1]
    assert seen[0][:2] == [b"one", b"two"]


def test_mutations_keep_to_the_length_and_begin_with_anything() -> None:
    mutate = Mutator(random.Random(1), [b"", b"x" * 200], [b"token"], longest=20)
    made = [mutate() for _ in range(500)]
    assert max(map(len, made)) == 20
    assert len(set(made)) > 200
    assert any(b"token" in data for data in made)


def test_a_source_gives_the_first_choice_when_it_is_empty() -> None:
    source = Source(b"\x05\xff")
    assert (source.below(4), source.choice("abc"), source.is_empty) == (1, "a", True)
    assert (source.byte(), source.chance(100), source.choice("xyz"), source.take(5)) == (0, False, "x", b"")


def test_every_target_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" ")[0] for line in lines] == list(NAMES)


def test_a_run_by_hand_says_how_it_went(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["changesets", "--plain", "--seconds", "0.1"]) == 0
    assert "0 findings" in capsys.readouterr().out


def test_an_input_can_be_repeated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "input"
    file.write_bytes(b"\x3f\x00")
    assert main(["changesets", "--repeat", str(file)]) == 0
    assert "nothing happens" in capsys.readouterr().out


def corpus_files() -> Iterator[Path]:
    from fuzz.runner import CORPUS

    return (file for file in CORPUS.rglob("*") if file.is_file())


def test_the_corpus_is_small() -> None:
    assert sum(file.stat().st_size for file in corpus_files()) < 1_000_000
