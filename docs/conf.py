"""How Sphinx makes the manual: ``sphinx-build -W docs .build/docs``, a step of ``run-tests``.

The pages are Markdown that a code host shows as it stands; Sphinx adds the navigation and checks that every page is in
it and that every link, headings included, leads somewhere.
"""

from realmserver._version import __version__

project = "Realm Object Server"
author = "the Realm Object Server authors"
version = release = __version__
html_title = f"{project} {release}"

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
myst_heading_anchors = 3
"""Headings down to this level can be linked to by the names that code hosts give them."""

html_theme = "furo"
html_copy_source = False
html_show_copyright = False
