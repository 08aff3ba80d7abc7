"""A small sync client in Python, over the same protocol, changesets and merge rules as the server.

``local`` is a Realm in memory that can be written to and merged into; ``transaction`` builds its changesets;
``connection`` keeps Realms in sync over a WebSocket; ``app`` logs in. Tests, the load tool and the data browser use it,
and so may anyone who wants a Realm in a Python program. Everything runs on the reactor thread::

    import sys

    from twisted.internet import task

    from realmserver.client.app import App, partition
    from realmserver.client.connection import Client


    async def main(reactor, url):
        user = await App(reactor, url, "my-app").login_anonymous()
        client = Client(reactor, user)
        realm = client.open(partition("dogs of our street"))
        await realm.downloaded()
        with realm.write() as tx:
            tx.add_class("Dog", "_id", "int")
            tx.add_property("Dog", "name", "string")
            tx.add_property("Dog", "walks", "int")
            if realm.get("Dog", 7) is None:
                tx.create("Dog", 7, {"name": "Rex"})
            tx.increment("Dog", 7, "walks")
        await realm.uploaded()
        print(realm.get("Dog", 7))
        await client.close()


    task.react(main, sys.argv[1:])

Run with ``http://localhost:9080`` as its argument it prints ``{'_id': 7, 'name': 'Rex', 'walks': 1}``, with another
number when it is run again.
"""
