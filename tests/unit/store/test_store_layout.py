"""Names of Realms and their places on the disk."""

from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from realmserver.store.layout import make_directories, realm_directory, realm_name

ROOT = Path("/data")
segments = st.from_regex(r"\A[A-Za-z0-9_-][A-Za-z0-9_.-]*\Z").filter(lambda segment: not segment.endswith(".realm"))
long_segments = st.builds(
    lambda start, length, end: start + "x" * length + end, segments, st.integers(0, 999), segments
)
names = st.lists(segments | long_segments, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))


def test_the_tree_mirrors_virtual_paths() -> None:
    assert realm_directory(ROOT, "/a/b.c") == Path("/data/user_data/a/b.c.realm")


@given(names)
@example("/" + "a" * 200 + "..")
@example("/" + "a" * 200 + ".realm-")
@example("/" + "a" * 400)
@example("/" + "a" * 201 + "/" + "b" * 199)
def test_every_name_has_a_place_below_the_root_that_gives_it_back(name: str) -> None:
    directory = realm_directory(ROOT, name)
    inner = directory.relative_to(ROOT / "user_data").parts
    assert all(len(part) <= 255 and not part.startswith(".") for part in inner)
    assert not any(part.endswith(".realm") for part in inner[:-1])
    assert realm_name(ROOT, directory) == name


@given(names, names)
def test_different_names_have_different_places(one: str, other: str) -> None:
    assert (realm_directory(ROOT, one) == realm_directory(ROOT, other)) == (one == other)


def test_missing_parents_are_made(tmp_path: Path) -> None:
    make_directories(tmp_path / "a" / "b" / "c")
    make_directories(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()
