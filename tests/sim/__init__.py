"""The simulator: server, store, network and clients in one process, every choice drawn from one seed.

What runs is the server's own code (registry, lanes, integration, protocol) and the project's own client. Around it
stand doubles of what cannot be ordered at will: the WebSocket shell (``host``, which does what ``net.conversation``
does), threads and timers (``workers``), the disk (``disk``), the network (``wire``). After every history the promises
of ``docs/testing.md`` are checked. Run it with ``python -m tests.sim``.
"""
