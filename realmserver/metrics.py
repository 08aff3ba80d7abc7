"""All figures of this server, for Prometheus: one typed attribute each, in a registry of their own.

Keeps true: no label takes values that a peer can choose (never a Realm, a user or a path), every name passes
``promtool check metrics``, and counting costs a lock and an addition at most. It knows no reactor, no clock but
``prometheus_client``'s stopwatch, and nothing of what is counted.

The names are those of ``spec/http-api.md`` part 5 where Prometheus's rules allow it. Counters end in ``_total``, sizes
and times are in bytes and seconds, and a name does not repeat its type:

==================================================== =================================================================
there                                                here
==================================================== =================================================================
``ros_sync_<counter>``, ``ros_http_bytes_<way>``     the same with ``_total``
``ros_sync_conn_term_<reason>``                      the same with ``_total``, for the reasons in ``ENDINGS``
``ros_sync_<histogram>_ms``                          ``ros_sync_<histogram>_seconds``
``ros_sync_connection_total``, ``…session_total``    ``ros_sync_connection_started_total``, ``…session_started_total``
``ros_sync_protocol_bytes_<way>_gauge``              ``ros_sync_protocol_bytes_<way>_total``
``ros_sync_event_loop_saturation``, ``…inefficiency`` ``ros_sync_event_loop_delay_seconds``: what can be measured here
``ros_sync_realm_state_size{path}``                  none: a series for each Realm would be without bound
``ros_sync_proxy_*``                                 none: the proxy is in this process
==================================================== =================================================================
"""

import os
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from math import inf
from pathlib import Path
from typing import Final

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, GCCollector, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from realmserver._build import BUILD
from realmserver._version import __version__
from realmserver.figures import Figures, Summed

ENDINGS: Final = {
    "end_of_input": "the client closed them",
    "connection_reset_error": "the client or the network broke them off",
    "network_error": "the network failed in another way",
    "ssl_error": "TLS failed",
    "websocket_error": "a WebSocket frame broke the rules",
    "sync_protocol_error": "a message broke the rules of the sync protocol",
    "error_of_unexpected_category": "of a fault in this server",
    "superseded_session": "the same client file came back on a newer connection",
    "heartbeat_timeout": "nothing was heard of the client",
    "unauthorized": "the login behind them or a token had ended",
    "server_stopping": "the server stopped",
    "limit_reached": "they held back too much that others need",
}
"""Why a connection ended. Each connection ends for exactly one of these. The last three are not in part 5; some of its
own are missing, since Twisted tells a broken pipe and other errors of the system like a reset."""

LIMITS: Final = (
    "connections",
    "connections_per_address",
    "sessions_per_connection",
    "realms_per_user",
    "new_realms_per_user",
    "request_timeout",
    "bind_timeout",
    "idle_timeout",
    "message_size",
    "receive_buffer",
    "upload_backlog_per_realm",
    "upload_backlog",
    "download_buffer",
    "disk_reserve",
)
"""The limits at which something is refused, named as in the section ``limits`` of the configuration."""

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Bounds for times: from a small change at a fast disk to the merge of a long absence."""

BYTES: Final = tuple(4**power for power in range(3, 14))
"""Bounds for sizes: 64 bytes to 64 MiB, the largest upload."""

MERGES: Final = (0, 1, 2, 5, 10, 25, 50, 100, 250, 1000, 10_000)
"""Bounds for the number of others' changesets that one upload is merged with."""

ROUND_TRIPS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Bounds for what clients measure over the network."""

# A second series for each counter and histogram with the time at which it began: promtool takes those for nameless
# gauges, and the process's start says the same. The library knows only one switch for all.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """The figures. Whoever counts is handed this object; a test looks at ``registry``. An attribute has its figure's
    name, less ``ros_sync_`` and ``_total``."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        self.connection_started = self._counter("connection_started", "Sync connections opened.")
        self.connection_terminated = self._counter("connection_terminated", "Sync connections ended.")
        self.connection_online = self._gauge("connection_online", "Sync connections open now.")
        self.session_started = self._counter("session_started", "Sessions bound to a Realm.")
        self.session_terminated = self._counter("session_terminated", "Sessions that have left their Realm.")
        self.session_failed = self._counter("session_failed", "Sessions ended by an error.")
        self.session_online = self._gauge("session_online", "Sessions bound to a Realm now.")
        self.realms_open = self._gauge("realms_open", "Realms whose file is open now.")
        self.backup_followers = self._gauge("backup_followers", "Continuous backups that follow now.")
        self.backup_lag_commits = self._gauge("backup_lag_commits", "Commits that the furthest of them is behind.")
        self.backup_lag_bytes = self._gauge("backup_lag_bytes", "Bytes of these commits.")
        self.backup_lag_seconds = self._gauge("backup_lag_seconds", "Age of the oldest of these commits.")
        self.history_squashes = self._counter("history_squashes", "Squashes of Realms written; each counts later.")
        self.history_folded = self._counter("history_folded", "Times that the old history of a Realm was folded away.")
        self.history_folded_versions = self._counter("history_folded_versions", "Versions that were folded away.")
        self.history_failed = self._counter("history_failed", "Times that folding a Realm failed.")
        self.history_freed_bytes = self._counter("history_freed_bytes", "Bytes of the disk that folding gave back.")
        self.realms_quarantined = self._gauge("realms_quarantined", "Realms that are damaged and set aside.")

        self.authentication_failed = self._counter("authentication_failed", "Tokens and upgrade requests refused.")
        self.permission_denied = self._counter("permission_denied", "Sessions refused for want of a right.")
        self.protocol_violated = self._counter("protocol_violated", "Connections ended by an error of the client.")
        self.client_unsyncable = self._counter("client_unsyncable", "Client files told to reset themselves.")
        self.client_errors = self._counter("client_errors", "Errors that clients have reported.")
        self._errors_sent = Counter(
            "ros_sync_errors_sent", "Errors sent to clients, by their number.", ("code",), registry=self.registry
        )

        self.protocol_bytes_sent = self._tally("protocol_bytes_sent", "Bytes of sync messages sent.")
        self.protocol_bytes_received = self._tally("protocol_bytes_received", "Bytes of sync messages received.")

        self.changeset_integrated = self._tally("changeset_integrated", "Uploaded changesets made durable.")
        self.merges_performed = self._tally("merges_performed", "Changesets of others that uploads were merged with.")
        self.download_constructed = self._tally("download_constructed", "DOWNLOAD messages made.")
        self.upload_pending_bytes = self._gauge("upload_pending_bytes", "Bytes of uploads not yet durable.")
        self.receiving_bytes = self._gauge("receiving_bytes", "Bytes of long messages of which a part is missing.")
        self.unread_bytes = self._gauge("unread_bytes", "Bytes sent to clients that do not read them.")
        self.realm_failed = self._counter("realm_failed", "Times that work for a Realm failed in storage or code.")

        self.changeset_integrated_seconds = self._histogram(
            "changeset_integrated_seconds", "Time to integrate the uploads of one commit and make it durable.", SECONDS
        )
        self.changeset_integrated_bytes = self._spread(
            "changeset_integrated_bytes", "Bytes of the changesets of one upload.", BYTES
        )
        self.changeset_integrated_merges = self._spread(
            "changeset_integrated_merges", "Changesets of others that one upload was merged with.", MERGES
        )
        self.upload_processing_seconds = self._spread(
            "upload_processing_seconds", "Time from the arrival of an upload until it is durable.", SECONDS
        )
        self.download_constructed_seconds = self._spread(
            "download_constructed_seconds", "Time from the wish for a DOWNLOAD until it is made.", SECONDS
        )
        self.download_constructed_bytes = self._spread(
            "download_constructed_bytes", "Bytes of the bodies of DOWNLOADs, as sent.", BYTES
        )
        self.ping_rtt_seconds = self._histogram(
            "ping_rtt_seconds", "Round trips of PING and PONG, as clients report them.", ROUND_TRIPS
        )
        self.event_loop_delay_seconds = self._histogram(
            "event_loop_delay_seconds", "How much later than due a call came that is due once a second.", SECONDS
        )

        self.http_bytes_sent = Counter(
            "ros_http_bytes_sent", "Bytes of the bodies of HTTP answers.", registry=self.registry
        )
        self.http_bytes_received = Counter(
            "ros_http_bytes_received", "Bytes of the bodies of HTTP requests.", registry=self.registry
        )
        self._http_requests = Counter(
            "ros_http_requests", "HTTP requests answered, by the class of the status.", ("status",),
            registry=self.registry,
        )  # fmt: skip
        self._http_classes = {digit: self._http_requests.labels(f"{digit}xx") for digit in range(1, 6)}

        self.sockets_online = Gauge(
            "ros_connections_online", "Connections open now on all ports, whatever they are for.",
            registry=self.registry,
        )  # fmt: skip
        self.workers = Gauge(
            "ros_workers", "Worker processes that run now; 0 where one process does everything.",
            registry=self.registry,
        )  # fmt: skip
        self.worker_restarts = Counter(
            "ros_worker_restarts", "Times that a worker process ended before it was told to, and was started again.",
            registry=self.registry,
        )  # fmt: skip
        self.worker_kills = Counter(
            "ros_worker_kills",
            "Times that a worker process did not answer, or did not come to its end, and was killed.",
            registry=self.registry,
        )  # fmt: skip
        self.disk_read_only = Gauge(
            "ros_sync_disk_read_only", "1 while nothing is written because too little of the disk is free.",
            registry=self.registry,
        )  # fmt: skip
        refused = Counter(
            "ros_limit_refused", "What was refused, put off or cut off, by the limit that was reached.", ("limit",),
            registry=self.registry,
        )  # fmt: skip
        self._refused = {name: refused.labels(name) for name in LIMITS}

        self._endings = {
            name: self._counter(f"conn_term_{name}", f"Sync connections that ended because {text}.")
            for name, text in ENDINGS.items()
        }
        self._certificate: Gauge | None = None
        Gauge(
            "ros_build_info", "The server's version, and what of it is compiled.", ("version", "build"),
            registry=self.registry,
        ).labels(__version__, BUILD).set(1)  # fmt: skip
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    # What is counted in more than one figure, or by a label.

    def connection_ended(self, ending: str) -> None:
        """A connection has ended, for one of the reasons in ``ENDINGS``."""
        self.connection_terminated.inc()
        self.connection_online.dec()
        self._endings[ending].inc()

    def limit_refused(self, limit: str) -> None:
        """Something was refused because of ``limit``, one of ``LIMITS``."""
        self._refused[limit].inc()

    def error_sent(self, code: int) -> None:
        """An error was sent to a client; ``code`` is one of the protocol's."""
        self._errors_sent.labels(str(code)).inc()

    def http_answered(self, status: int, received: int, sent: int) -> None:
        """An HTTP request was answered. ``received`` and ``sent``: bytes of the two bodies."""
        self.http_bytes_received.inc(received)
        self.http_bytes_sent.inc(sent)
        counter = self._http_classes.get(status // 100)
        if counter is not None:
            counter.inc()

    # What is looked up when someone asks.

    def watch_disk(self, path: Path, statvfs: Callable[[Path], os.statvfs_result] = os.statvfs) -> None:
        """Report on the filesystem that holds ``path``."""
        self.registry.register(_Disk(path, statvfs))

    def watch_quarantine(self, count: Callable[[], int]) -> None:
        """Report how many Realms are in quarantine, as ``count`` gives it."""
        self.realms_quarantined.set_function(count)

    def watch_followers(self, count: Callable[[], int], lag: Callable[[], tuple[int, int, float]]) -> None:
        """Report how many continuous backups follow, and the commits, bytes and seconds that the furthest is behind."""
        self.backup_followers.set_function(count)
        self.backup_lag_commits.set_function(lambda: lag()[0])
        self.backup_lag_bytes.set_function(lambda: lag()[1])
        self.backup_lag_seconds.set_function(lambda: lag()[2])

    def watch_log(self, lines: Sequence[int], levels: Sequence[str]) -> None:
        """Report how many ``lines`` the log has of each level; both are indexed by severity."""
        self.registry.register(_LogLines(lines, levels))

    def certificate_expires(self, when: float) -> None:
        """The TLS certificate in use is good until ``when`` (Unix seconds). Without TLS there is no such figure."""
        if self._certificate is None:
            self._certificate = Gauge(
                "ros_tls_certificate_expiry_timestamp_seconds",
                "When the TLS certificate in use expires, in Unix seconds.",
                registry=self.registry,
            )
        self._certificate.set(when)

    def exposition(self, accept: str, others: Sequence[Figures] = ()) -> tuple[bytes, str]:
        """All figures as text, and its Content-Type, in the form that the header Accept wants; those of ``others``,
        other processes of this server, are added up with them. May wait for the disk; may be called in any thread."""
        encode, content_type = choose_encoder(accept)
        return encode(Summed(self.registry, others) if others else self.registry), content_type

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(f"ros_sync_{name}", text, registry=self.registry)

    def _tally(self, name: str, text: str) -> "Tally":
        tally = Tally(f"ros_sync_{name}", text)
        self.registry.register(tally)
        return tally

    def _spread(self, name: str, text: str, bounds: Sequence[float]) -> "Spread":
        spread = Spread(f"ros_sync_{name}", text, bounds)
        self.registry.register(spread)
        return spread

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"ros_sync_{name}", text, registry=self.registry)

    def _histogram(self, name: str, text: str, bounds: Sequence[float]) -> Histogram:
        return Histogram(f"ros_sync_{name}", text, buckets=bounds, registry=self.registry)


class Tally(Collector):
    """A counter that the reactor's thread alone counts, without a lock: for what is counted for every message."""

    def __init__(self, name: str, text: str) -> None:
        self._name = name
        self._text = text
        self.value: int = 0

    def inc(self, amount: int = 1) -> None:
        """Count ``amount`` more."""
        self.value += amount

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily(self._name, self._text, value=self.value)


class Spread(Collector):
    """The same for a histogram; ``bounds`` are the upper ones of its buckets, in order."""

    def __init__(self, name: str, text: str, bounds: Sequence[float]) -> None:
        self._name = name
        self._text = text
        self._bounds = (*bounds, inf)
        self._counts = [0] * len(self._bounds)
        self._sum: float = 0

    def observe(self, value: float) -> None:
        """Count ``value``."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def collect(self) -> Iterator[Metric]:
        counts = zip(map(floatToGoString, self._bounds), accumulate(self._counts), strict=True)
        yield HistogramMetricFamily(self._name, self._text, buckets=list(counts), sum_value=self._sum)


class _Disk(Collector):
    """Size, use and free room of a filesystem, which other programs may fill as well."""

    def __init__(self, path: Path, statvfs: Callable[[Path], os.statvfs_result]) -> None:
        self._path = path
        self._statvfs = statvfs

    def collect(self) -> Iterator[Metric]:
        size = GaugeMetricFamily("ros_sync_disk_size_bytes", "Size of the filesystem of the data directory.")
        usage = GaugeMetricFamily("ros_sync_disk_usage_bytes", "Bytes used on the filesystem of the data directory.")
        free = GaugeMetricFamily("ros_sync_disk_free_bytes", "Bytes that the server may still use there.")
        try:
            found = self._statvfs(self._path)
        except OSError:
            pass  # no figure is better than a wrong one; that it is missing can be seen
        else:
            size.add_metric((), found.f_blocks * found.f_frsize)
            usage.add_metric((), (found.f_blocks - found.f_bfree) * found.f_frsize)
            free.add_metric((), found.f_bavail * found.f_frsize)
        yield from (size, usage, free)


class _LogLines(Collector):
    def __init__(self, lines: Sequence[int], levels: Sequence[str]) -> None:
        self._lines = lines
        self._levels = levels

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily("ros_log_lines", "Lines written to the log, by level.", labels=("level",))
        for level, count in list(zip(self._levels, self._lines, strict=True))[1:-1]:  # no line is of level all or off
            family.add_metric((level,), count)
        yield family
