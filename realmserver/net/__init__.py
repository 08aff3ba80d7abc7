"""The rim: WebSockets, listeners and threads. Here Twisted and autobahn meet the rooms that know neither."""
