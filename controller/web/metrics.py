"""Measures for Prometheus. States are read from the store at each scrape, so they cannot go stale; only events are counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from controller.domain.certificate import Leaf
from controller.expiry import part_left
from controller.store import Store, TargetStatus

SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""A look that changes nothing takes tenths of a second, a delivery with its probes several seconds."""

CERTIFICATE_LABELS = ("where", "source", "target", "port", "name", "fingerprint")


class Metrics:
    """All measures, in a registry of their own."""

    def __init__(
        self, store: Store, *, queue_depth: Callable[[], int] = lambda: 0, clock: Callable[[], float] = time.time
    ) -> None:
        self._registry = CollectorRegistry()
        self._reconciles = Counter("certferry_reconciles", "Containers worked on.", ["outcome"], registry=self._registry)
        self._duration = Histogram(
            "certferry_reconcile_duration_seconds", "How long one took.", buckets=SECONDS, registry=self._registry
        )
        self._retries = Counter("certferry_retries", "Attempts put off after a failure.", registry=self._registry)
        ProcessCollector(registry=self._registry)
        self._registry.register(_StoreCollector(store, queue_depth, clock))

    def observe_reconcile(self, outcome: str, seconds: float) -> None:
        """Count one piece of work; `outcome` is one of a few words."""
        self._reconciles.labels(outcome).inc()
        self._duration.observe(seconds)

    def observe_retry(self) -> None:
        """Count one failure that will be tried again."""
        self._retries.inc()

    def render(self) -> bytes:
        """All measures in Prometheus' text format."""
        return generate_latest(self._registry)


class _StoreCollector(Collector):
    def __init__(self, store: Store, queue_depth: Callable[[], int], clock: Callable[[], float]) -> None:
        self._store = store
        self._queue_depth = queue_depth
        self._clock = clock

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield _gauge("certferry_engine_up", "Whether the Docker Engine answers.", float(self._store.engine_up))
        yield _gauge("certferry_queue_depth", "Containers waiting to be worked on.", float(self._queue_depth()))
        yield from self._collect_sources()
        yield from self._collect_targets()
        yield from self._collect_certificates()
        yield self._collect_trust()

    def _collect_sources(self) -> Iterator[GaugeMetricFamily]:
        up = _gauge("certferry_source_up", "Whether the last read succeeded.", labels=["source"])
        age = _gauge("certferry_source_age_seconds", "Time since the last successful read.", labels=["source"])
        count = _gauge("certferry_source_certificates", "Usable certificates.", labels=["source"])
        problems = _gauge("certferry_source_problems", "Entries that cannot be used.", labels=["source"])
        now = self._clock()
        for name, status in self._store.sources.items():
            snapshot = self._store.snapshots.get(name)
            up.add_metric([name], float(status.up))
            count.add_metric([name], len(snapshot.entries) if snapshot else 0)
            problems.add_metric([name], len(snapshot.problems) if snapshot else 0)
            if status.loaded_at is not None:
                age.add_metric([name], max(now - status.loaded_at, 0.0))
        yield from (up, age, count, problems)

    def _collect_targets(self) -> Iterator[GaugeMetricFamily]:
        ready = _gauge("certferry_target_ready", "Whether the container is as desired.", labels=["target", "reason"])
        success = _gauge(
            "certferry_last_success_timestamp_seconds", "When the container was last found as desired.", labels=["target"]
        )
        for name, status in self._targets().items():
            ready.add_metric([name, status.condition.reason or ""], float(status.condition.ready))
            if status.last_success is not None:
                success.add_metric([name], status.last_success.timestamp())
        yield from (ready, success)

    def _collect_certificates(self) -> Iterator[GaugeMetricFamily]:
        end = _gauge("certferry_certificate_not_after_timestamp_seconds", "When it ends.", labels=list(CERTIFICATE_LABELS))
        left = _gauge(
            "certferry_certificate_life_left_ratio",
            "The part of its life that is left, whether that is 90 days or six; 0 when it has expired.",
            labels=list(CERTIFICATE_LABELS),
        )
        now = datetime.fromtimestamp(self._clock(), UTC)
        for labels, leaf in {**dict(self._source_leaves()), **dict(self._target_leaves())}.items():
            end.add_metric(list(labels), leaf.not_after.timestamp())
            left.add_metric(list(labels), part_left(leaf, now))
        yield from (end, left)

    def _collect_trust(self) -> GaugeMetricFamily:
        family = _gauge(
            "certferry_certificate_trust",
            "Which trust a certificate of a source has: 1.",
            labels=["source", "name", "fingerprint", "trust"],
        )
        found = {
            (name, *_series("source", entry.certificate.leaf)[0][4:], entry.certificate.vouched.called)
            for name, snapshot in self._store.snapshots.items()
            for entry in snapshot.entries
        }
        for labels in sorted(found):
            family.add_metric(list(labels), 1.0)
        return family

    def _source_leaves(self) -> Iterator[tuple[tuple[str, ...], Leaf]]:
        for name, snapshot in self._store.snapshots.items():
            for entry in snapshot.entries:
                yield _series("source", entry.certificate.leaf, source=name)

    def _target_leaves(self) -> Iterator[tuple[tuple[str, ...], Leaf]]:
        for name, status in self._targets().items():
            for leaf in status.installed:
                yield _series("installed", leaf, target=name)
            for served in status.served:
                if served.leaf:
                    yield _series("served", served.leaf, target=name, port=str(served.port.port))

    def _targets(self) -> dict[str, TargetStatus]:
        """By name: a container that was recreated may be known twice for a moment, and Prometheus takes no series twice."""
        return {status.name: status for status in sorted(self._store.targets.values(), key=lambda s: s.condition.since)}


def _gauge(name: str, text: str, value: float | None = None, *, labels: list[str] | None = None) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value, labels=labels)


def _series(where: str, leaf: Leaf, *, source: str = "", target: str = "", port: str = "") -> tuple[tuple[str, ...], Leaf]:
    name = leaf.names[0] if leaf.names else leaf.subject
    return (where, source, target, port, name, leaf.short), leaf
