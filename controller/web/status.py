"""The status page: the store as JSON. Only public facts of certificates enter it; keys have no way in."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from controller.domain.certificate import Leaf
from controller.domain.condition import Condition
from controller.domain.moment import read_clocks
from controller.domain.observed import Served
from controller.domain.snapshot import Entry, Problem, Snapshot, SourceStatus
from controller.domain.target import TargetKey
from controller.expiry import ENDED, judge, say_rest
from controller.policies import proven_by
from controller.store import Store, TargetStatus

Json = dict[str, Any]


def describe_store(store: Store, *, now: float) -> Json:
    """Everything known at Unix time `now`, ready for `json.dumps`."""
    return {
        "ready": store.all_ready,
        "engine": {"up": store.engine_up, "message": store.engine_message},
        "sources": [
            {**_describe_source(name, status, store, now=now), "found": store.found.get(name)}
            for name, status in sorted(store.sources.items())
        ],
        "left": [{"container": name, "reason": reason} for name, reason in sorted(store.left.items())],
        "targets": [_describe_target(key, status) for key, status in sorted(store.targets.items(), key=_by_name)],
    }


def _by_name(item: tuple[TargetKey, TargetStatus]) -> tuple[str, TargetKey]:
    return item[1].name, item[0]


def _describe_source(name: str, status: SourceStatus, store: Store, *, now: float) -> Json:
    snapshot = store.snapshots.get(name, Snapshot(name))
    entries, renewed = snapshot.entries, _renewed_until(snapshot)
    moment = read_clocks(datetime.fromtimestamp(now, UTC), proven=proven_by(store.snapshots.values()))

    def mark(leaf: Leaf) -> str:
        if not moment.is_after(leaf.late):
            return ""  # which is so for most of them, and there may be thousands
        near = judge(leaf, moment, store.first_word(name, leaf))
        if near.step == ENDED:
            return "expired"
        overdue = near.step is not None and renewed[frozenset(leaf.names)] == leaf.not_after
        return f"expires in {say_rest(near.rest)}" if overdue else ""

    return {
        "name": name,
        "up": status.up,
        "reason": status.reason,
        "message": status.message,
        "age_seconds": None if status.loaded_at is None else round(max(now - status.loaded_at, 0.0), 1),
        "entries": len(entries),
        "problems": [_describe_problem(problem) for problem in snapshot.problems],
        "certificates": [{**_describe_entry(entry), "expires": mark(entry.certificate.leaf)} for entry in entries],
    }


def _renewed_until(snapshot: Snapshot) -> dict[frozenset[str], datetime]:
    """When the last of its certificates for the same names ends: what was renewed already may come to its end."""
    ends: dict[frozenset[str], datetime] = {}
    for leaf in (entry.certificate.leaf for entry in snapshot.entries):
        names = frozenset(leaf.names)
        ends[names] = max(leaf.not_after, ends.get(names, leaf.not_after))
    return ends


def _describe_problem(problem: Problem) -> Json:
    return {"label": problem.label, "reason": problem.reason, "message": problem.message}


def _describe_entry(entry: Entry) -> Json:
    return {
        "label": entry.label,
        **_describe_leaf(entry.certificate.leaf),
        "trust": entry.certificate.vouched.name.lower(),
        "why": entry.certificate.why,
        "warnings": list(entry.certificate.warnings),
    }


def _describe_leaf(leaf: Leaf) -> Json:
    return {
        "names": list(leaf.names),
        "key_type": leaf.key_type,
        "key_bits": leaf.key_bits,
        "not_before": _moment(leaf.not_before),
        "not_after": _moment(leaf.not_after),
        "fingerprint": leaf.fingerprint,
        "issuer": leaf.issuer,
    }


def _describe_target(key: TargetKey, status: TargetStatus) -> Json:
    target = status.target
    return {
        "name": status.name,
        "endpoint": key.endpoint,
        "container": key.container_id[:12],
        "profile": target.profile if target else None,
        "domains": list(target.domains) if target else [],
        "condition": _describe_condition(status.condition),
        "chosen": [{"source": source, **_describe_leaf(leaf)} for source, leaf in status.chosen],
        "installed": [_describe_leaf(leaf) for leaf in status.installed],
        "served": [_describe_served(served) for served in status.served],
        "last_success": _moment(status.last_success),
        "notes": list(target.notes) if target else [],
        "endings": list(status.endings),
        "paused": target.paused_by if target else "",
    }


def _describe_condition(condition: Condition) -> Json:
    return {
        "ready": condition.ready,
        "reason": condition.reason,
        "message": condition.message,
        "since": _moment(condition.since),
    }


def _describe_served(served: Served) -> Json:
    return {
        "port": served.port.port,
        "protocol": served.port.protocol,
        "fingerprint": served.leaf.fingerprint if served.leaf else None,
        "not_after": _moment(served.leaf.not_after) if served.leaf else None,
        "way": served.way,
        "error": served.error,
    }


def _moment(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="seconds") if moment else None
