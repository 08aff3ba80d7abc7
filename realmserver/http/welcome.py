"""The page at ``/``: what this server is, and how a client connects to it."""

import html
from string import Template
from typing import Final

from realmserver._version import __version__

_PAGE: Final = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Realm Object Server</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 42em; margin: 3em auto; padding: 0 1em; color: #222; }
pre { background: #f3f3f6; padding: 0.8em 1em; overflow-x: auto; }
small { color: #777; }
</style>
</head>
<body>
<h1>Realm Object Server</h1>
<p>This server keeps Realm databases in sync. It is running.</p>
<h2>Connect an app</h2>
<p>Give the Realm SDK this base URL, and any app id of letters, digits, <code>-</code> and <code>_</code>:</p>
<pre>$url</pre>
<p>For example in Kotlin:</p>
<pre>val app = App.create(
    AppConfiguration.Builder("my-app").baseUrl("$url").build()
)
val user = app.login(Credentials.anonymous())</pre>
<p>Users can log in anonymously, or register with an e-mail address and a password. Realms are opened with a partition
value.</p>
<p><small>Version $version</small></p>
</body>
</html>
""")


def welcome_page(url: str) -> str:
    """The page as HTML; ``url`` is this server's address as the reader has it."""
    return _PAGE.substitute(url=html.escape(url), version=html.escape(__version__))
