"""Load generators: processes that replay prepared frames over plain sockets, and look at no more of the answers than is
needed to know that they are right. They speak the sync protocol at ``/realm-sync`` with tokens in BIND, so they can
drive any server that does.
"""
