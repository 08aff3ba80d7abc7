"""Every fuzz target takes its corpus, and a few seconds of mutations of it, without a finding.

Longer runs are ``python -m fuzz TARGET``. The seed is fixed, so a failure comes again on the same machine; the input
that caused it is in the report, ready to be repeated.
"""

import pytest

from fuzz.recorder import Recorder
from fuzz.runner import corpus_of, run_plain
from fuzz.targets import NAMES, load

SECONDS = 2.5
SEED = 20_260_101


@pytest.mark.parametrize("name", NAMES)
def test_only_documented_errors_escape(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    target = load(name)
    corpus = corpus_of(name)
    assert corpus, "a target without a corpus"
    assert all(len(data) <= target.longest for data in corpus)
    report: list[str] = []
    recorder = Recorder(name, target, tmp_path_factory.mktemp("found"), report.append)
    outcome = run_plain(recorder, corpus, seconds=SECONDS, seed=SEED)
    assert not recorder.findings, "\n".join(report)
    assert outcome.runs > len(corpus)


@pytest.mark.parametrize("name", NAMES)
def test_a_target_does_the_same_with_the_same_bytes(name: str) -> None:
    """Or findings could not be repeated: here, that running an input twice leaves nothing behind that breaks it."""
    target = load(name)
    for data in corpus_of(name)[:3]:
        target.check(data)
        target.check(data)
