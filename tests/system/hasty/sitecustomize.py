"""Where this directory is on PYTHONPATH, Python imports this at its start, and Twisted's clock runs SPEED times as fast
in that process: what a server does after minutes can be seen after seconds. The work itself is as slow as ever."""

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.main import installReactor
from twisted.python.runtime import seconds

SPEED = 30


class HastyReactor(EPollReactor):
    def seconds(self) -> float:
        return seconds() * SPEED

    def timeout(self) -> float | None:
        """Real seconds to wait for."""
        until = super().timeout()
        return None if until is None else until / SPEED


installReactor(HastyReactor())  # type: ignore[no-untyped-call]
