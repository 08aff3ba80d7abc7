"""Where the golden data is: vectors made by the real implementation, and frames of real clients."""

from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent

VECTORS: Final = HERE / "vectors"
"""Changesets, merges and whole sync histories; the README there says what and how."""

TRANSCRIPTS: Final = HERE / "transcripts"
"""Every frame of sync sessions of real SDKs, one directory for each version, one file for each connection."""

MANUAL_CONFIGURATION: Final = HERE.parents[1] / "shared" / "fixtures" / "ros-1.8.3-linux-configuration.yml"
"""The sample configuration of Realm Object Server 1.8.3. It is not ours to pass on: where it is missing, the tests that
read it are skipped."""
