"""What is said of a target that is only watched: whether clients accept what it serves, and what would be done. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from controller.domain.certificate import Leaf
from controller.domain.container import State
from controller.domain.finding import Finding, Reason
from controller.installed import installed_leaf
from controller.policies import Decision, Facts, acceptable, chain_problem, daemons_up, is_expected, not_askable
from controller.x509.hostnames import covers


def judge(facts: Facts, decision: Decision) -> tuple[Finding | None, str]:
    """Why the target is not ready, ``None`` where clients accept what it serves; and the sentence that says so.

    Accepted is a leaf that is valid now, covers every name asked for, is the installed or the chosen one, and comes with its
    chain. Where no port is to be asked, or the container does not run, the installed files are judged.
    """
    watched = f"paused ({facts.target.paused_by}), so nothing is touched; {intention(decision)}"
    problem = next(_problems(facts), None)
    if problem:
        return problem, f"{problem.message}; {watched}"
    return None, f"{_accepted(facts)}; {watched}"


def intention(decision: Decision) -> str:
    """What certferry would do."""
    if decision.refused:
        return f"certferry would do nothing: {decision.refused}"
    if not (decision.write or decision.reload):
        others = decision.pause is not None
        return f"certferry would wait ({'; '.join(map(str, decision.findings))})" if others else "certferry would do nothing"
    files = ", ".join(map(str, decision.write))
    steps = [f"write {files}"] if files else []
    steps += ["reload"] if decision.reload else []
    return f"certferry would {' and '.join(steps)} ({'; '.join(map(str, decision.findings))})"


def _problems(facts: Facts) -> Iterator[Finding]:
    if facts.target.container.state is State.RUNNING and facts.target.probe:
        yield from _served_problems(facts)
    else:
        yield from _installed_problems(facts)


def _served_problems(facts: Facts) -> Iterator[Finding]:
    if not daemons_up(facts):
        yield Finding(Reason.RELOAD_PENDING, "waiting for the ports to open after the start")
    known = acceptable(facts)
    for served in facts.served:
        where = f"port {served.port}"
        if served.unknown:
            continue
        if served.leaf is None:
            excused = (served.refused or served.plain) and not facts.target.probe_required
            if not excused:
                yield Finding(Reason.SERVED_DIFFERS, f"{where}: {served.error}")
        elif not is_expected(served, known):
            yield Finding(
                Reason.SERVED_DIFFERS, f"{where} hands out {served.leaf.short}, which is neither installed nor chosen"
            )
        else:
            yield from _refusals(facts, served.leaf, f"{where} hands out {served.leaf.short},")
            if text := chain_problem(served, known):
                yield Finding(Reason.SERVED_DIFFERS, text)
    for served in not_askable(facts):
        yield Finding(Reason.PORTS_NOT_ASKABLE, served.error)
    if not any(served.leaf for served in facts.served):
        yield Finding(Reason.NOTHING_LISTENS, "no port hands out a certificate")


def _installed_problems(facts: Facts) -> Iterator[Finding]:
    leaves = _installed(facts)
    if not leaves:
        yield Finding(Reason.NOT_INSTALLED, "there is no certificate at its paths")
    for leaf in leaves:
        yield from _refusals(facts, leaf, f"{leaf.short} is installed,")


def _refusals(facts: Facts, leaf: Leaf, what: str) -> Iterator[Finding]:
    """Why a client would refuse a leaf, whoever signed it."""
    if facts.at.is_after(leaf.not_after):
        yield Finding(Reason.EXPIRED, f"{what} which ended {leaf.not_after:%Y-%m-%d %H:%M} UTC")
    if facts.at.is_before(leaf.not_before):
        yield Finding(Reason.NOT_YET_VALID, f"{what} which begins {leaf.not_before:%Y-%m-%d %H:%M} UTC")
    if missing := [name for name in facts.target.domains if not covers(frozenset(leaf.names), name)]:
        yield Finding(Reason.NAME_MISMATCH, f"{what} which is not for {', '.join(missing)}")


def _installed(facts: Facts) -> list[Leaf]:
    return [leaf for place in facts.target.places if (leaf := installed_leaf(place, facts.observed))]


def _accepted(facts: Facts) -> str:
    leaves = {served.leaf.fingerprint: served.leaf for served in facts.served if served.leaf}
    shown = leaves.values() or _installed(facts)
    what = " and ".join(f"{leaf.short} until {leaf.not_after:%Y-%m-%d}" for leaf in shown)
    ports = ", ".join(str(served.port) for served in facts.served if served.leaf)
    return f"{what}, served on {ports}" if ports else f"{what} installed"
