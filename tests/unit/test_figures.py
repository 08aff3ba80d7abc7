"""Figures of several processes, added up."""

from prometheus_client.exposition import generate_latest
from promtool import figures

from realmserver.figures import NOTHING, Figures, Summed, figures_of
from realmserver.metrics import Metrics


def summed(own: Metrics, *others: Figures) -> dict[str, float]:
    return figures(generate_latest(Summed(own.registry, others)))


def carried(metrics: Metrics) -> Figures:
    """As they come from another process."""
    return Figures.from_json(figures_of(metrics.registry).to_json())


def test_counters_gauges_and_histograms_are_summed() -> None:
    front, worker = Metrics(), Metrics()
    for each in (front, worker):
        each.changeset_integrated.inc(2)
        each.realms_open.inc(3)
        each.event_loop_delay_seconds.observe(0.002)
        each.download_constructed_seconds.observe(0.002)
        each.download_constructed.inc(4)
    found = summed(front, carried(worker), carried(worker))
    assert found["ros_sync_changeset_integrated_total"] == 6
    assert found["ros_sync_realms_open"] == 9
    assert found["ros_sync_download_constructed_total"] == 12
    for name in ("event_loop_delay", "download_constructed"):
        assert found[f"ros_sync_{name}_seconds_count"] == 3
        assert found[f'ros_sync_{name}_seconds_bucket{{le="0.001"}}'] == 0
        assert found[f'ros_sync_{name}_seconds_bucket{{le="0.0025"}}'] == 3


def test_a_label_that_only_another_process_has_seen_is_shown() -> None:
    front, worker = Metrics(), Metrics()
    worker.error_sent(201)
    assert summed(front, carried(worker))['ros_sync_errors_sent_total{code="201"}'] == 1


def test_what_belongs_to_one_process_stays_that_of_the_one_that_is_asked() -> None:
    front = Metrics()
    found = summed(front, carried(Metrics()))
    assert [value for name, value in found.items() if name.startswith("ros_build_info")] == [1]
    alone = figures(generate_latest(front.registry))
    assert found["process_start_time_seconds"] == alone["process_start_time_seconds"]
    assert not [name for name, _ in carried(Metrics()).values if name.startswith(("process_", "python_"))]


def test_what_a_process_has_counted_outlives_it_and_what_it_held_does_not() -> None:
    worker = Metrics()
    worker.changeset_integrated.inc(2)
    worker.realms_open.inc(3)
    left = carried(worker).outlived_by(carried(worker).outlived_by(NOTHING))
    found = summed(Metrics(), left)
    assert found["ros_sync_changeset_integrated_total"] == 4
    assert found["ros_sync_realms_open"] == 0
