"""What a fuzz target is.

A target takes bytes and does with them what the server does with bytes of a stranger. It returns whatever comes out,
as long as that is documented: a documented error is caught inside, everything else that is raised is a finding. The
same bytes always do the same: randomness, time and keys are fixed.
"""

from collections.abc import Callable, Iterable

from attrs import frozen

Check = Callable[[bytes], None]


@frozen
class Target:
    """``check`` raises whatever must not happen. ``seeds`` makes inputs to begin with, for ``python -m fuzz.seeds``.

    ``tokens`` are pieces that random mutation would rarely hit upon; ``longest`` bounds an input, in bytes.
    """

    about: str
    check: Check
    seeds: Callable[[], Iterable[bytes]]
    tokens: tuple[bytes, ...] = ()
    longest: int = 4096
