"""The figures: Prometheus accepts their names, and each says what it counts."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from promtool import check_expressions, complaints, figures, needs_promtool

from realmserver import log
from realmserver.metrics import ENDINGS, SECONDS, Metrics, Spread, Tally
from realmserver.net.report import RealmFigures
from realmserver.sync.errors import Code

DASHBOARD = Path(__file__).resolve().parents[2] / "etc" / "grafana" / "realm-object-server.json"

DISK = os.statvfs_result((4096, 1024, 1000, 300, 250, 0, 0, 0, 0, 255))


def full() -> Metrics:
    """With all that is reported only where the server has it."""
    metrics = Metrics()
    metrics.watch_disk(Path("/"), lambda path: DISK)
    metrics.watch_log([0] * len(log.LEVELS), log.LEVELS)
    metrics.certificate_expires(1.8e9)
    metrics.http_answered(200, 10, 20)
    for code in Code:
        metrics.error_sent(code)
    return metrics


def exposition(metrics: Metrics) -> bytes:
    return metrics.exposition("")[0]


def of(metrics: Metrics) -> dict[str, float]:
    return figures(exposition(metrics))


@needs_promtool
def test_prometheus_finds_nothing_wrong() -> None:
    assert complaints(exposition(full())) == ""


@needs_promtool
def test_prometheus_would_find_something_wrong() -> None:
    """Else the test above would prove nothing."""
    assert "help" in complaints(b"# TYPE x_milliseconds gauge\nx_milliseconds 1\n")


def test_the_form_is_prometheuss_unless_the_other_is_asked_for() -> None:
    body, content_type = Metrics().exposition("text/html, */*")
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert b"\nros_sync_connection_started_total 0.0\n" in body
    body, content_type = Metrics().exposition("application/openmetrics-text; version=1.0.0,text/plain;version=0.0.4")
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert body.endswith(b"# EOF\n")


def test_no_label_takes_values_without_bound() -> None:
    labels = {
        name
        for family in text_string_to_metric_families(exposition(full()).decode())
        for sample in family.samples
        for name in sample.labels
    }
    assert labels == {"build", "code", "le", "level", "limit", "status", "version", "generation"}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_connection_ends_for_one_reason(ending: str) -> None:
    metrics = Metrics()
    metrics.connection_online.inc()
    metrics.connection_ended(ending)
    found = of(metrics)
    assert found["ros_sync_connection_terminated_total"] == 1
    assert found["ros_sync_connection_online"] == 0
    ends = {name: value for name, value in found.items() if name.startswith("ros_sync_conn_term_") and value}
    assert ends == {f"ros_sync_conn_term_{ending}_total": 1}


def test_disk_figures_are_looked_up_when_they_are_asked_for() -> None:
    asked: list[Path] = []

    def statvfs(path: Path) -> os.statvfs_result:
        asked.append(path)
        if len(asked) == 2:
            raise OSError("gone")
        return DISK

    metrics = Metrics()
    metrics.watch_disk(Path("/data"), statvfs)
    assert asked == []
    found = of(metrics)
    assert found["ros_sync_disk_size_bytes"] == 1000 * 1024
    assert found["ros_sync_disk_usage_bytes"] == 700 * 1024
    assert found["ros_sync_disk_free_bytes"] == 250 * 1024
    assert "ros_sync_disk_free_bytes" not in of(metrics)
    assert asked == [Path("/data")] * 2


def test_a_certificate_is_reported_only_where_there_is_one() -> None:
    metrics = Metrics()
    assert not any("certificate" in name for name in of(metrics))
    metrics.certificate_expires(1.8e9)
    metrics.certificate_expires(1.9e9)
    assert of(metrics)["ros_tls_certificate_expiry_timestamp_seconds"] == 1.9e9


def test_lines_of_the_log_are_reported_by_level() -> None:
    metrics = Metrics()
    lines = [0] * len(log.LEVELS)
    metrics.watch_log(lines, log.LEVELS)
    lines[log.WARN] = 3
    found = {name: value for name, value in of(metrics).items() if name.startswith("ros_log_lines_total")}
    assert len(found) == 7
    assert found['ros_log_lines_total{level="warn"}'] == 3


def test_answers_are_counted_by_the_class_of_their_status() -> None:
    metrics = Metrics()
    for status in (200, 204, 404, 999):
        metrics.http_answered(status, 3, 5)
    found = of(metrics)
    assert found['ros_http_requests_total{status="2xx"}'] == 2
    assert found['ros_http_requests_total{status="4xx"}'] == 1
    assert found["ros_http_bytes_received_total"] == 12
    assert found["ros_http_bytes_sent_total"] == 20


def test_two_servers_in_one_process_count_for_themselves() -> None:
    one, two = Metrics(), Metrics()
    one.connection_started.inc()
    assert of(two)["ros_sync_connection_started_total"] == 0


def test_folded_history_is_counted() -> None:
    metrics = Metrics()
    figures_of_realms = RealmFigures(metrics)
    figures_of_realms.squashed()
    figures_of_realms.folded(10)
    figures_of_realms.folded(5)
    figures_of_realms.folding_failed()
    found = of(metrics)
    assert found["ros_sync_history_squashes_total"] == 1
    assert found["ros_sync_history_folded_total"] == 2
    assert found["ros_sync_history_folded_versions_total"] == 15
    assert found["ros_sync_history_failed_total"] == 1


def expressions(node: Any) -> list[str]:
    """Every query in a dashboard."""
    if isinstance(node, dict):
        own = [node["expr"]] if isinstance(node.get("expr"), str) else []
        return own + [found for value in node.values() for found in expressions(value)]
    return [found for each in node for found in expressions(each)] if isinstance(node, list) else []


def test_every_figure_in_the_dashboard_exists() -> None:
    found = {name.partition("{")[0] for name in of(full())}
    dashboard = json.loads(DASHBOARD.read_text())
    asked = {
        name
        for expression in expressions(dashboard)
        for name in re.findall(r"\b(?:ros|process|python)_[a-z0-9_]+", expression)
    }
    assert len(asked) > 25
    assert asked - found == set()


def test_every_figure_is_in_the_dashboard() -> None:
    asked = set(re.findall(r"\bros_[a-z0-9_]+", DASHBOARD.read_text()))
    shown = {name.removesuffix("_total").removesuffix("_bucket") for name in asked}
    own = {family.name for family in full().registry.collect() if family.name.startswith("ros_")}
    assert own - shown == set()


@needs_promtool
def test_prometheus_can_read_every_query_of_the_dashboard(tmp_path: Path) -> None:
    queries = [each.replace("$__rate_interval", "1m") for each in expressions(json.loads(DASHBOARD.read_text()))]
    assert check_expressions(queries, tmp_path) == ""
    assert check_expressions(["rate(x["], tmp_path) != ""


def test_the_dashboard_asks_the_data_source_that_is_chosen_there() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    assert [each["type"] for each in dashboard["templating"]["list"] if each["name"] == "datasource"] == ["datasource"]
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert {panel["datasource"]["uid"] for panel in panels} == {"${datasource}"}
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    assert all(panel["title"] and panel["targets"] for panel in panels)


def test_what_is_counted_without_a_lock_is_told_as_the_library_would() -> None:
    values = [0, 0.001, 0.002, 0.5, 61, 1e9]
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    spread, tally = Spread("spread", "Text.", SECONDS), Tally("tally", "Text.")
    ours.register(spread)
    ours.register(tally)
    histogram = Histogram("spread", "Text.", buckets=SECONDS, registry=theirs)
    counter = Counter("tally", "Text.", registry=theirs)
    for value in values:
        spread.observe(value)
        histogram.observe(value)
    tally.inc(3)
    tally.inc()
    counter.inc(4)
    assert generate_latest(ours) == generate_latest(theirs)
