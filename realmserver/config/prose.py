"""The words around the keys: what the manual's page and the commented file say beside what the model says itself."""

from typing import Final

PAGE: Final = """\
# The configuration file

<!-- Made by `python -m realmserver.config.manual` from what the server itself checks by. Change it there. -->

Everything works without one. To change a setting, write a YAML file and start with

```sh
./start-object-server --configuration my-server.yml
```

The names are those of Realm Object Server 1.x, and a file of that version works as it is. A short one looks like this;
`etc/configuration.yml` has every key with its default, ready to uncomment.

```yaml
{example}```

- **Paths** may be relative; they are then relative to the current directory, and `~` is the home directory.
- **Options** on the command line (`--root`, `--public-key`, `--private-key`) override the file.
- **A key with nothing behind its colon**, and an empty section, mean the defaults.

## What is wrong, and where

A file is checked as a whole before anything starts. Every mistake is told at once, with the place, the key, what is
wrong and what to write instead; the exit code is then 1, and nothing was started or made. The same goes to the log, if
the file names one.

```
{error}
```

`--check-configuration FILE` only checks, and says that the file is valid (exit code 0) or what is wrong (exit code 1).
It looks at the key pair, at certificates and their dates, at your own providers (which it reads but does not run), and
at whether each port is free. Run it as the user that the server runs as. A server that is running on the same data
directory does not disturb it.

## Ports

| listener | default | takes |
|---|---|---|
| `proxy.http` | `::`, 9080, on | HTTP and sync, for apps |
| `proxy.https` | `::`, 9443, off | the same with encryption |
| `network.http` | `127.0.0.1`, 27080, on | HTTP alone |
| `network.sync` | `127.0.0.1`, 27800, on | sync alone |

All ports must differ. The proxy reaches both services in the same process and needs none of the `network` ports; they
are for a proxy of your own. That one sends the paths ending in `/realm-sync`, and those below `/realm-sync`, to
`network.sync` and all others to `network.http`, and passes the `Host` header on as it came.

`::` means all addresses, IPv4 and IPv6; where the machine has no IPv6, all of IPv4.

**Ports below 1024** can be opened by root only, which the server is not. Listen above and redirect, for example:

```sh
iptables -t nat -A PREROUTING -p tcp --dport 443 -j REDIRECT --to-ports 9443
```

and the same with `ip6tables` for IPv6.

## A server that only forwards

With `network.http.forward_to` and one entry of `sync.servers` that is elsewhere, both services are on another server,
and this one is nothing but a proxy in front of it: it needs no data directory and no keys. One service here and one
elsewhere does not work, because log-ins are kept with the HTTP service and the sync service asks for them there.

## All keys

"required" means: as soon as its section is there.
"""

EXAMPLE: Final = """\
storage:
  root_path: data                                    # --root
auth:
  public_key_path: data/keys/token-signature.pub     # --public-key
  private_key_path: data/keys/token-signature.key    # --private-key
proxy:
  http:
    listen_port: 9080
logging:
  level: info
"""

WRONG_EXAMPLE: Final = """\
proxy:
  http:
    listen_prot: 8080
network:
  sync:
    listen_port: '27800'
logging:
  level: verbose
"""

MANDATORY_NOTES: Final = {
    "storage.root_path": "required, here or as `--root`; `start-object-server` takes `data` beside itself",
    "auth.public_key_path": "`keys/token-signature.pub` in the data directory",
    "auth.private_key_path": "`keys/token-signature.key` in the data directory",
}
"""What stands in the place of a default where the model has none."""

HEADER: Final = """\
Configuration of the Realm Object Server.

Lines that begin with one # are settings with their default: remove the # and the blank after it to change one. Lines \
that begin with ## explain.

A path may be absolute, or relative to the directory in which the server is started. To check this file:
realm-object-server --check-configuration FILE
"""

MANDATORY: Final = """\
Three settings are MANDATORY, in this file or on the command line:
  storage: root_path          --root
  auth: public_key_path       --public-key
  auth: private_key_path      --private-key
"""

DIAGRAM: Final = r"""
                       the proxy                        the services
                 +---------------------+         +------------------------+
 apps ---------> | http    '::'   9080 |    +--> | sync  127.0.0.1  27800 |
 (Realm SDKs)    |   HTTP and sync     |    |    |   WebSocket            |
                 |                     | ---+    +------------------------+
                 | https   '::'   9443 |    |
 browsers -----> |   the same, with    |    |    +------------------------+
                 |   encryption (TLS)  |    +--> | http  127.0.0.1  27080 |
                 +---------------------+         |   log-ins, other APIs  |
                                                 +------------------------+

Both parts run in one process. A proxy of your own (nginx, HAProxy) may
take the place of the left one; it then uses the ports on the right.
"""

PROVIDERS: Final = """\
Who else may vouch for a user. A provider is on as soon as it stands here with what it needs. The providers realm \
and password are always on. To turn one on, remove the # and the blank after it from all lines of its block, and fill \
in what is empty.
"""

CUSTOM_PROVIDER: Final = """\
A provider of your own, here with the name custom/example. The prefix custom/ is part of each such name. Further keys \
are handed to the provider as its options.
"""

LOCAL_SERVER: Final = """\
Without any entry it is as if this one were there.
"""
