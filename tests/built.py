"""What a test may need of the build that it runs against (``realmserver/_build.py``)."""

from typing import Final

import pytest

from realmserver._build import IS_PURE

needs_pure: Final = pytest.mark.skipif(
    not IS_PURE, reason="machine code cannot be counted or patched; run-tests has this in pure Python besides"
)
"""For tests that count calls and accesses within what may be machine code, or exchange what is in them."""
