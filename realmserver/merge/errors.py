"""What a merge raises when the two sides do not fit together (``spec/merge.md`` 5.1 and 7)."""


class TransformError(Exception):
    """Two instructions contradict each other: one of the sides cannot have come from a correct client.

    The peer's fault; a session answers it as it answers a bad changeset (``spec/protocol.md`` 4.4). The text names the
    contradiction and the place. After it both sides of the merge are half transformed and must be thrown away.
    """


class MergeTooLarge(TransformError):
    """More instructions meet each other than the :class:`~realmserver.merge.objects.Budget` allows for."""
