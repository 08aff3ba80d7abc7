"""A small sync client in Python, over the same protocol, changesets and merge rules as the server.

``local`` is a Realm in memory that can be written to and merged into; ``transaction`` builds changesets; ``connection``
keeps a Realm in sync over a WebSocket; ``app`` logs in. Tests, the load tool and the data browser use it, and so may
anyone who wants a Realm in a Python program.
"""
