"""How a problem looks: in a log, on paper, on a terminal."""

from realmserver.config.problem import MAX_LINE_SHOWN, Problem, render

LOUD = Problem("logging.level", "is wrong; write info", "c.yml", 2, 10, "  level: loud")


def test_a_problem_shows_its_line_and_marks_the_column() -> None:
    assert str(LOUD).splitlines() == [
        "c.yml:2:10: logging.level: is wrong; write info",
        "      level: loud",
        "             ^",
    ]
    assert LOUD.headline == "c.yml:2:10: logging.level: is wrong; write info"


def test_a_problem_without_a_place_names_the_option_or_the_key_alone() -> None:
    assert str(Problem("storage.root_path", "not set", option="--root")) == "--root: storage.root_path: not set"
    assert str(Problem("storage.root_path", "not set")) == "storage.root_path: not set"
    assert str(Problem("", "cannot be read", "c.yml")) == "c.yml: cannot be read"


def test_the_mark_stands_right_below_tabs_and_wide_characters() -> None:
    assert str(Problem("k", "t", "f", 1, 4, "\t日e\u0301x")).splitlines()[2] == "    \t   ^"
    tabbed = Problem("k", "t", "f", 1, 2, "\tx")
    assert str(tabbed).splitlines()[1:] == ["    \tx", "    \t^"]


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert "\x1b" not in str(Problem("k", "t", "f", 1, 1, "\x1b[31mred"))


def test_a_long_line_is_cut_around_the_column() -> None:
    for column in (1, 60, 500, 1000):
        line = "." * (column - 1) + "X" + "." * (1000 - column)
        _, shown, mark = str(Problem("k", "t", "f", 1, column, line)).splitlines()
        assert len(shown) <= MAX_LINE_SHOWN + 6
        assert shown[mark.index("^")] == "X"


def test_a_mark_may_stand_behind_the_end_of_the_line() -> None:
    assert str(Problem("k", "t", "f", 1, 4, "abc")).splitlines()[2] == "       ^"


def test_colours_do_not_change_the_words() -> None:
    assert render(LOUD, colour=False) == f"error: {LOUD}"
    coloured = render(LOUD, colour=True)
    for code in ("\x1b[1;31m", "\x1b[1m", "\x1b[0m"):
        assert code in coloured
        coloured = coloured.replace(code, "")
    assert coloured == f"error: {LOUD}"
    assert render(Problem("a.b", "not set"), colour=True) == "\x1b[1;31merror:\x1b[0m a.b: not set"
