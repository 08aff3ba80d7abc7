"""Convergence (``spec/merge.md`` 10, property test 4): clients that edit at random and meet a real server at random
times all come to the state that the server's own log comes to when it is applied from the start."""

import itertools
from contextlib import suppress

import pytest
from client_edits import Editor
from client_tools import Server, add_schema, randomly

from realmserver.client.local import LocalRealm

SEEDS = 200


class Regret(Exception):
    """Ends a transaction that shall not have been."""


@pytest.mark.parametrize("seed", range(SEEDS))
def test_all_clients_and_the_log_come_to_one_state(seed: int) -> None:
    chance = randomly(seed)
    server = Server()
    clients = [LocalRealm() for _ in range(chance.randint(2, 4))]
    fresh = itertools.count()
    editors = [Editor(chance, fresh) for _ in clients]
    joined: set[int] = set()
    # All begin with the same schema and objects of their own making, as apps do that are first started offline.
    for client in clients:
        with client.write(chance.randrange(3)) as tx:
            add_schema(tx)
    for _ in range(40 + chance.randrange(40)):
        number = chance.randrange(len(clients))
        client = clients[number]
        action = chance.random()
        if action < 0.55:
            with client.write(chance.randrange(20)) as tx:
                editors[number].edit(tx)
        elif action < 0.6:
            before = client.values.state()
            with suppress(Regret), client.write(chance.randrange(20)) as tx:
                editors[number].edit(tx)
                raise Regret
            assert client.values.state() == before
        elif number not in joined:
            server.join(client)
            joined.add(number)
        elif action < 0.8:
            server.upload(client)
        else:
            server.download(client)
    for number, client in enumerate(clients):
        if number not in joined:
            server.join(client)
    server.sync(*clients)
    server.sync(*clients)
    expected = server.state()
    assert expected["Thing"] or not any(client.values.objects("Thing") for client in clients)
    for client in clients:
        assert client.is_uploaded
        assert client.values.state() == expected
    assert server.environment.warnings == []
