"""How progress is shown: lines for logs, a bar for people."""

import io

from realmserver.backup.progress import Bar, Lines


def test_lines_tell_every_tenth_once() -> None:
    lines: list[str] = []
    problems: list[str] = []
    progress = Lines(lines.append, problems.append)
    progress.begin("Copying", 1000)
    for done in (0, 99, 100, 101, 199, 450, 450, 999, 1000):
        progress.at(done)
    progress.problem("oh")
    progress.end()
    assert lines == ["Copying: 10 %", "Copying: 40 %", "Copying: 90 %"]
    assert problems == ["oh"]


def test_nothing_to_do_needs_no_lines() -> None:
    lines: list[str] = []
    progress = Lines(lines.append, lines.append)
    progress.begin("Copying", 0)
    progress.at(0)
    progress.end()
    assert lines == []


def test_the_bar_is_gone_at_the_end_and_problems_stay() -> None:
    screen = io.StringIO()
    bar = Bar(screen)
    bar.begin("Copying", 1000)
    bar.at(500)
    bar.problem("oh")
    bar.at(1500)
    bar.end()
    bar.end()
    text = screen.getvalue()
    assert "Copying" in text
    assert "oh\n" in text
    assert text.endswith("\r")
