"""What the commands show: plain data for ``--json``, and tables of it for people. Never keys."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from controller.app import Plan, Unplanned
from controller.domain.certificate import Trust
from controller.domain.finding import Finding, Reason
from controller.domain.observed import Served
from controller.domain.target import InvalidTarget, Reload
from controller.probe import Judgement, judge
from controller.remarks import remarks
from controller.selection import Candidate

Json = dict[str, Any]


def unix_now() -> float:
    return time.time()


def describe_plan(plan: Plan, *, whole: bool = True) -> Json:
    """One target's plan: the chosen certificate, every candidate's fate, what would be written and run.

    Commands `whole` are for the operator's own terminal; what may end in a file or a log names programs only, since passwords
    may stand in arguments.
    """
    if isinstance(plan, InvalidTarget):
        return _no_plan(plan.container.name, Finding(Reason.INVALID_LABELS, "; ".join(plan.problems)))
    if isinstance(plan, Unplanned):
        return _no_plan(plan.name, Finding(Reason.UNREACHABLE, plan.message))
    facts, decision = plan
    target = facts.target
    check = [Reload("exec", target.check)] if target.check and decision.write else []
    steps = (*check, *(target.reload if decision.reload else ()))
    return {
        "target": target.name,
        "profile": target.profile,
        "domains": list(target.domains),
        "refused": _finding(decision.refused),
        "findings": [_finding(finding) for finding in decision.findings],
        "candidates": [_candidate(candidate) for candidate in facts.selection.candidates],
        "write": [str(path) for path in decision.write],
        "run": [step.command if whole else str(step) for step in steps],
        "notes": [*target.notes, *remarks(facts)],
        "paused": target.paused_by,
    }


def _no_plan(name: str, why: Finding) -> Json:
    return {"target": name, "refused": _finding(why), "candidates": [], "write": [], "run": [], "findings": []}


def _finding(finding: Finding | None) -> Json | None:
    return None if finding is None else {"reason": str(finding.reason), "message": finding.message}


def _candidate(candidate: Candidate) -> Json:
    leaf = candidate.certificate.leaf
    return {
        "source": candidate.source,
        "label": candidate.label,
        "fingerprint": leaf.fingerprint,
        "names": list(leaf.names),
        "key_type": str(leaf.key_type),
        "issuer": leaf.issuer,
        "trust": candidate.certificate.vouched.name.lower(),
        "why": candidate.certificate.why,
        "warnings": list(candidate.certificate.warnings),
        "not_before": leaf.not_before.isoformat(),
        "not_after": leaf.not_after.isoformat(),
        "chosen": not candidate.lost,
        "lost": candidate.lost,
        "switch": candidate.switch,
    }


def describe_probe(host: str, served: Served, *, name: str, min_days: int, required: bool) -> Json:
    """One port of a host, as a client judges it that calls the host by a `name`.

    Of each judgement there is a sentence, empty where it is good. A closed port is a problem only when it was asked for by
    number.
    """
    verdict = judge(served, name, datetime.now(UTC))
    problems = list(verdict.problems) if required or not served.refused else []
    if verdict.days_left is not None and 0 <= verdict.days_left < min_days:
        problems.append(f"it ends in {verdict.days_left:.1f} days, fewer than {min_days}")
    leaf = served.leaf
    return {
        "host": host,
        "port": str(served.port),
        "error": served.error,
        "subject": leaf.subject if leaf else None,
        "names": list(leaf.names) if leaf else [],
        "issuer": leaf.issuer if leaf else None,
        "not_before": leaf.not_before.isoformat() if leaf else None,
        "not_after": leaf.not_after.isoformat() if leaf else None,
        "days_left": round(verdict.days_left, 1) if verdict.days_left is not None else None,
        "fingerprint": leaf.fingerprint if leaf else None,
        "trust": verdict.trust.name.lower() if verdict.trust is not None else None,
        "as": name,
        "judgements": {str(one): verdict.found.get(one, "") for one in Judgement} if leaf else {},
        "warnings": list(verdict.warnings),
        "problems": problems,
    }


def plans(described: list[Json]) -> RenderableType:
    """A table of candidates for every target, and what would happen."""
    if not described:
        return _no_targets()
    parts: list[RenderableType] = []
    for plan in described:
        wanted = f"  ({plan['profile']}: {', '.join(plan['domains'])})" if "profile" in plan else ""
        parts.append(Text(f"{plan['target']}{wanted}", "bold"))
        if plan["candidates"]:
            parts.append(_candidates(plan["candidates"]))
        parts += [Text(line) for line in _plan_lines(plan)]
        parts.append(Text(""))
    return Group(*parts)


def _plan_lines(plan: Json) -> list[str]:
    lines = [f"  {finding['reason']}: {finding['message']}" for finding in plan["findings"]]
    lines += [f"  note: {line}" for line in _distrust([one for one in plan["candidates"] if one["chosen"]])]
    notes = [f"  note: {note}" for note in plan.get("notes", [])]
    if plan["refused"]:
        return [*lines, f"  would do nothing: {plan['refused']['reason']}: {plan['refused']['message']}", *notes]
    lines += [f"  would write {path}" for path in plan["write"]]
    lines += [f"  would run   {command}" for command in plan["run"]]
    lines += notes
    lines += [f"  paused ({plan['paused']}): certferry does none of it"] if plan.get("paused") else []
    return lines if plan["write"] or plan["run"] or plan["findings"] else [*lines, "  nothing to do"]


def _candidates(candidates: list[Json]) -> Table:
    table = _table("", "source", "fingerprint", "key", "issuer", "until", "why not")
    for row in sorted(candidates, key=lambda c: not c["chosen"]):
        mark = Text("chosen", "green") if row["chosen"] else ""
        source, issuer = f"{row['source']}:{row['label']}", _issuer(row)
        table.add_row(mark, source, row["fingerprint"][:12], row["key_type"], issuer, row["not_after"][:10], row["lost"])
    return table


def targets(described: Json) -> RenderableType:
    """The targets of the status page; what there is to say of one stands below in full width."""
    if not described["targets"]:
        return _no_targets()
    table = _table("container", "domains", "state", "installed", "served on")
    remarks: list[RenderableType] = []
    for target in described["targets"]:
        condition = target["condition"]
        state = Text("ready", "green") if condition["ready"] else Text(condition["reason"] or "?", "red")
        if target.get("paused"):
            state.append(", paused", "yellow")
        installed = ", ".join(leaf["fingerprint"][:12] for leaf in target["installed"])
        ports = ", ".join(dict.fromkeys(str(served["port"]) for served in target["served"] if served["fingerprint"]))
        table.add_row(target["name"], ", ".join(target["domains"]), state, installed, ports)
        if not condition["ready"]:
            remarks.append(Text(f"{target['name']}: {condition['reason']}: {condition['message']}", "red"))
        elif target.get("paused"):
            remarks.append(Text(f"{target['name']}: {condition['message']}", "yellow"))
        if not target.get("paused"):  # else its message says it
            remarks += [Text(f"{target['name']}: {ending}", "yellow") for ending in target.get("endings", ())]
        remarks += [Text(f"{target['name']}: note: {note}", "yellow") for note in target["notes"]]
    return Group(table, *remarks)


def sources_and_left(described: Json) -> RenderableType:
    """What the sources hold, and which proxies were left and why."""
    engine = described["engine"]
    trouble = [] if engine["up"] else [Text(f"proxies were not looked for: {engine['message']}", "yellow")]
    return Group(sources(described["sources"]), *_left(described), *trouble)


def sources(described: list[Json]) -> RenderableType:
    """What the sources hold, and how those were found that nobody configured."""
    parts: list[RenderableType] = []
    for source in described:
        state = Text("up", "green") if source["up"] else Text(f"{source['reason']}: {source['message']}", "red")
        parts.append(Text.assemble((source["name"], "bold"), "  ", state))
        if source.get("found"):
            parts.append(Text(f"  found: {source['found']}", "dim"))
        parts.append(_certificates(source["certificates"]) if source["certificates"] else Text("  no certificates"))
        parts += [Text(f"  {line}", "yellow") for line in _distrust(source["certificates"])]
        parts += [Text(f"  {p['label']}: {p['reason']}: {p['message']}", "yellow") for p in source["problems"]]
    if not parts:
        parts.append(Text("no source is configured, and no proxy was found"))
    return Group(*parts)


def _certificates(certificates: list[Json]) -> Table:
    table = _table("entry", "names", "key", "issuer", "from", "until", "fingerprint")
    for entry in certificates:
        table.add_row(
            entry["label"],
            ", ".join(entry["names"]),
            f"{entry['key_type']} {entry['key_bits']}",
            _issuer(entry),
            entry["not_before"][:10],
            _until(entry["not_after"][:10], entry.get("expires", "")),
            entry["fingerprint"][:12],
        )
    return table


def _until(day: str, expires: str) -> Text:
    return Text(f"{day}, {expires}", "red" if expires == "expired" else "yellow") if expires else Text(day)


def _issuer(described: Json) -> str:
    """Who issued it, and which trust that makes."""
    return f"{described['issuer']} ({Trust[described['trust'].upper()].called})"


def _distrust(certificates: list[Json]) -> list[str]:
    """Why clients do not accept one, or some do not."""
    return [f"{one['label']}: {text}" for one in certificates for text in filter(None, (one["why"], *one["warnings"]))]


def _left(described: Json) -> list[RenderableType]:
    return [Text(f"left     {left['container']}: {left['reason']}", "dim") for left in described.get("left", ())]


def status(described: Json) -> RenderableType:
    """Engine, sources and targets in short."""
    engine = described["engine"]
    lines: list[RenderableType] = [Text(f"engine   {'up' if engine['up'] else engine['message']}")]
    for source in described["sources"]:
        state = "up" if source["up"] else f"{source['reason']}: {source['message']}"
        lines.append(Text(f"source   {source['name']}: {state}, {source['entries']} certificates"))
        if source.get("found"):
            lines.append(Text(f"         found: {source['found']}", "dim"))
        lines += [Text(f"         {p['label']}: {p['reason']}: {p['message']}", "yellow") for p in source["problems"]]
    return Group(*lines, *_left(described), targets(described))


def probes(described: list[Json]) -> RenderableType:
    """What hosts serve."""
    table = _table("host", "port", "names", "issuer", "until", "days", "verdict")
    for row in described:
        if row["fingerprint"]:
            names = ", ".join(row["names"])
            until = row["not_after"][:10]
            table.add_row(row["host"], row["port"], names, row["issuer"], until, str(row["days_left"]), _verdict(row))
        else:
            table.add_row(row["host"], row["port"], "", "", "", "", Text(row["error"], "red" if row["problems"] else "dim"))
    return table


def _verdict(row: Json) -> Text:
    if row["problems"]:
        return Text("; ".join(row["problems"]), "red")
    return Text(f"good, but {'; '.join(row['warnings'])}", "yellow") if row["warnings"] else Text("good", "green")


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _no_targets() -> Text:
    return Text("no container asks for a certificate; label your mail container with certferry.domain=mail.example.com")
