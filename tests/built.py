"""What a test may need of the build that it runs against (``realmserver/_build.py``)."""

from typing import Final

import pytest

from realmserver._build import IS_COMPILED

needs_pure: Final = pytest.mark.skipif(
    IS_COMPILED, reason="machine code cannot be counted or patched; run-tests has this in pure Python besides"
)
"""For tests that count calls and accesses within compiled modules, or exchange what is in them."""
