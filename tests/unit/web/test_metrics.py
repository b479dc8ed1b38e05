"""The measures follow the store at each scrape."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from controller.domain.condition import Condition
from controller.domain.snapshot import Snapshot
from controller.domain.target import TargetKey
from controller.store import Store
from controller.web.metrics import Metrics
from tests.unit.web.conftest import KEY, SINCE


def scrape(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every series with its value; a series that comes twice is an error, as it is for Prometheus."""
    samples = [s for family in text_string_to_metric_families(metrics.render().decode()) for s in family.samples]
    series = {(s.name, frozenset(s.labels.items())): s.value for s in samples}
    assert len(series) == len(samples)
    return series


@pytest.fixture
def value(store):
    metrics = Metrics(store, queue_depth=lambda: 3, clock=lambda: 1090.0)

    def value(name: str, /, **labels: str) -> float | None:
        return scrape(metrics).get((name, frozenset(labels.items())))

    return value


def test_sources_are_measured(value):
    assert value("certferry_source_up", source="traefik") == 1.0
    assert value("certferry_source_up", source="nginx") == 0.0
    assert value("certferry_source_age_seconds", source="traefik") == 90.0
    assert value("certferry_source_age_seconds", source="nginx") is None
    assert value("certferry_source_certificates", source="traefik") == 1.0
    assert value("certferry_source_certificates", source="nginx") == 0.0
    assert value("certferry_source_problems", source="traefik") == 1.0


def test_targets_are_measured_with_the_reason_why_not(value, store):
    assert value("certferry_target_ready", target="mail", reason="ServedDiffers") == 0.0
    assert value("certferry_last_success_timestamp_seconds", target="mail") == SINCE.timestamp()
    well = Condition(ready=True, reason=None, message="", since=SINCE)
    store.targets[KEY] = replace(store.targets[KEY], condition=well, last_success=None)
    assert value("certferry_target_ready", target="mail", reason="") == 1.0
    assert value("certferry_last_success_timestamp_seconds", target="mail") is None


def test_the_end_of_each_certificate_is_measured_where_it_is_seen(value, pair):
    leaf = pair.certificate.leaf
    common = {"name": "mail.example.com", "fingerprint": leaf.short}
    name = "certferry_certificate_not_after_timestamp_seconds"
    end = leaf.not_after.timestamp()
    assert value(name, where="source", source="traefik", target="", port="", **common) == end
    assert value(name, where="installed", source="", target="mail", port="", **common) == end
    assert value(name, where="served", source="", target="mail", port="993", **common) == end
    assert value(name, where="served", source="", target="mail", port="25", **common) is None


@pytest.mark.parametrize(("part", "left"), [(0.0, 1.0), (0.8, 0.2), (1.0, 0.0), (1.5, 0.0)])
def test_what_is_left_of_its_life_is_measured_so_that_one_alert_fits_all(store, pair, part, left):
    leaf = pair.certificate.leaf
    begin, end = leaf.not_before.timestamp(), leaf.not_after.timestamp()
    found = scrape(Metrics(store, clock=lambda: begin + part * (end - begin)))
    ratios = {dict(labels)["where"]: value for (name, labels), value in found.items() if name.endswith("life_left_ratio")}
    assert ratios == pytest.approx({"source": left, "installed": left, "served": left})


def test_the_engine_and_the_queue_are_measured(value):
    assert (value("certferry_engine_up"), value("certferry_queue_depth")) == (1.0, 3.0)


def test_a_certificate_that_a_source_holds_twice_is_one_series(store, value):
    snapshot = store.snapshots["traefik"]
    store.snapshots["traefik"] = Snapshot("traefik", snapshot.entries * 2)
    assert value("certferry_source_certificates", source="traefik") == 2.0


def test_a_container_that_is_known_twice_for_a_moment_is_measured_once_by_its_last_state(store, value):
    later = Condition(ready=True, reason=None, message="", since=SINCE + timedelta(seconds=1))
    old = store.targets.pop(KEY)
    store.targets = {TargetKey("local", "fedcba"): replace(old, condition=later), KEY: old}
    assert value("certferry_target_ready", target="mail", reason="") == 1.0
    assert value("certferry_target_ready", target="mail", reason="ServedDiffers") is None


def test_work_and_retries_are_counted():
    metrics = Metrics(Store())
    metrics.observe_reconcile("installed", 1.5)
    metrics.observe_reconcile("unchanged", 0.01)
    metrics.observe_reconcile("unchanged", 0.01)
    metrics.observe_retry()
    found = scrape(metrics)
    assert found["certferry_reconciles_total", frozenset({("outcome", "unchanged")})] == 2.0
    assert found["certferry_reconcile_duration_seconds_count", frozenset()] == 3.0
    assert found["certferry_retries_total", frozenset()] == 1.0
    assert found["certferry_queue_depth", frozenset()] == 0.0


def test_two_sets_of_measures_do_not_meet_in_a_common_registry():
    first, second = Metrics(Store()), Metrics(Store())
    first.observe_retry()
    assert scrape(second)["certferry_retries_total", frozenset()] == 0.0


def test_the_memory_of_the_process_is_measured():
    assert scrape(Metrics(Store()))["process_resident_memory_bytes", frozenset()] > 0
