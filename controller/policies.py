"""What must change in a target, and why. Pure: every input is in `Facts`, every answer in `Decision`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import PurePosixPath

from controller import pki
from controller.domain.certificate import Certificate, Leaf, Trust
from controller.domain.container import State
from controller.domain.errors import CertificateError, MalformedPem
from controller.domain.finding import Finding, Reason
from controller.domain.moment import EARLIEST, Moment
from controller.domain.observed import InstalledFile, Observed, Served
from controller.domain.snapshot import Snapshot
from controller.domain.target import Place, ProbePort, Target
from controller.selection import Candidate, Selection, select

OTHERS_LIMIT = 60.0
"""Seconds that whoever else writes the files is given to take up a new certificate."""

LAST_PART = 0.2
"""The part of a certificate's life within which it should have been renewed (design §4)."""

EARLY = timedelta(hours=48)
"""A certificate may begin by so much after it was signed (CA/Browser Forum, Baseline Requirements 7.1.2.7)."""


@dataclass(frozen=True, slots=True)
class Facts:
    """All that was read before deciding."""

    target: Target
    selection: Selection
    observed: Observed
    served: tuple[Served, ...]
    now: datetime
    start_grace: float
    """Seconds after its start during which a container's ports may stay closed."""
    age: float | None = None
    """Seconds since the container's start by clocks that cannot jump; ``None`` where it is long ago."""
    differs_for: float = 0.0
    """Seconds since the files were first seen to differ; counted where another writes them (`Target.written_by`)."""
    moment: Moment | None = None
    """What time it is as far as dates of certificates are concerned; ``None`` where nothing speaks against `now`."""
    loaded: bool = False
    """The services were made to load what is installed, and nothing was replaced since: as far as this process knows."""

    @property
    def at(self) -> Moment:
        return self.moment or Moment.at(self.now)


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do: `write` these files (nothing if empty), `reload`, or `wait` for the daemons to come up. `findings` say why.

    `silent`: the reload is only for ports that do not answer. `refused` is the reason why a wanted write must not happen.
    """

    findings: tuple[Finding, ...] = ()
    write: dict[PurePosixPath, bytes] = field(default_factory=dict, repr=False)
    reload: bool = False
    wait: bool = False
    silent: bool = False
    refused: Finding | None = None
    pause: float | None = None
    """Seconds until the next look, where `wait` is for something else than the daemons."""


def proven_by(snapshots: Iterable[Snapshot]) -> datetime:
    """A moment that has surely passed, since a public authority issued a certificate then."""
    return max((snapshot.issued for snapshot in snapshots if snapshot.issued), default=EARLIEST) - EARLY


def choose(facts: Facts, snapshots: Mapping[str, Snapshot]) -> Facts:
    """The facts with the choice made: what must not replace the installed files gives way to the next best.

    Where nothing else is left for a place that needs something, the best stays chosen and `decide` says why it is refused; but
    a stand-in that is not needed is none.
    """

    def refuse(place: Place, candidate: Candidate) -> Finding | None:
        different = not facts.target.written_by and compare_files(facts, place, candidate.certificate)
        return preflight(facts, place, candidate.certificate) if different else None

    selection = select(facts.target, snapshots, facts.at, refuse)
    if selection.finding:
        best = select(facts.target, snapshots, facts.at)
        if not any(candidate.stand_in for _, candidate in best.chosen):
            selection = best
    return replace(facts, selection=selection)


def decide(facts: Facts) -> Decision:
    """Compare what is wanted with what is there."""
    if facts.selection.finding:
        return Decision(refused=facts.selection.finding)
    findings: list[Finding] = []
    write: dict[PurePosixPath, bytes] = {}
    for place, candidate in facts.selection.chosen:
        found = compare_files(facts, place, candidate.certificate)
        if found and facts.target.written_by:
            return _leave_to_other(facts, found[0])
        if found and (refusal := preflight(facts, place, candidate.certificate)):
            return Decision(findings=tuple(found), refused=refusal)
        findings += found
        if found:
            write |= place.contents(candidate.certificate)
    if fillers := filled(facts):
        findings.append(Finding(Reason.NOT_INSTALLED, f"to be empty: {', '.join(map(str, fillers))}"))
        write |= fillers
    running = facts.target.container.state is State.RUNNING
    if write and facts.target.container.state is State.PAUSED:
        return Decision(
            refused=Finding(findings[0].reason, f"{findings[0].message}; the container is paused, waiting for unpause")
        )
    if write:
        reload = running and daemons_up(facts)
        return Decision(tuple(findings), write, reload=reload, wait=running and not reload)
    return _decide_without_writing(facts, running=running)


def _decide_without_writing(facts: Facts, *, running: bool) -> Decision:
    if not running:
        return Decision()
    if not daemons_up(facts):
        return Decision((Finding(Reason.RELOAD_PENDING, "waiting for the ports to open after the start"),), wait=True)
    stale = stale_ports(facts)
    silent = bool(stale) and not any(
        served.leaf for served in facts.served if port_problem(served, expected_leaves(facts), facts.target)
    )
    if facts.observed.pending and not facts.loaded and not _shown(facts):
        return Decision((Finding(Reason.RELOAD_PENDING, "a reload after the last change was not confirmed"),), reload=True)
    if stale:
        return Decision((Finding(Reason.SERVED_DIFFERS, "; ".join(stale)),), reload=True, silent=silent)
    return Decision()


def filled(facts: Facts) -> dict[PurePosixPath, bytes]:
    """The files that must be there and be empty: of a place for another key type for which there is no certificate.

    docker-mailserver does not start without the files that its environment names, and with a second pair of the first's key
    type Postfix offers no TLS; empty files both it and Dovecot pass over (seen with Postfix 3.7 and 3.10, Dovecot 2.3 and 2.4).
    """
    contents: dict[PurePosixPath, bytes] = {}
    for place in unfilled(facts):
        files = [facts.observed.files.get(path) for path in place.paths]
        if not all(file is not None and not file.content for file in files):
            contents |= dict.fromkeys(place.paths, b"")
    return contents


def unfilled(facts: Facts) -> list[Place]:
    """The places for another key type that hold nothing of it that fits together, and get nothing."""
    chosen = [place for place, _ in facts.selection.chosen]
    return [place for place in facts.target.places if place.slot.fill and place not in chosen and _is_spare(place, facts)]


def _is_spare(place: Place, facts: Facts) -> bool:
    first = facts.selection.chosen[0][1].certificate.leaf if facts.selection.chosen else None
    installed = installed_leaf(place, facts.observed)
    if installed is None or not _installed(place, facts.observed).key_fits:
        return True
    return first is not None and installed.key_type is first.key_type


def _leave_to_other(facts: Facts, found: Finding) -> Decision:
    """What to do where another writes the files: give it its time, then go by what it wrote, if that works."""
    running = facts.target.container.state is State.RUNNING
    if not running or facts.differs_for < OTHERS_LIMIT:
        text = f"{found.message}; waiting for {facts.target.written_by}"
        return Decision((Finding(Reason.RELOAD_PENDING, text),), wait=True, pause=max(2.0, facts.differs_for / 2))
    places = [place for place, _ in facts.selection.chosen]
    held = [installed_leaf(place, facts.observed) for place in places]
    works = [leaf and _worth_keeping(leaf, place, facts) for place, leaf in zip(places, held, strict=True)]
    if all(works) and not any(leaf and _is_near_its_end(leaf, facts) for leaf in held):
        return _decide_without_writing(facts, running=running)
    text = "; ".join((f"{found.message}; it was not brought by {facts.target.written_by}", *facts.target.notes))
    return Decision(refused=Finding(found.reason, text))


def _is_near_its_end(leaf: Leaf, facts: Facts) -> bool:
    return facts.at.is_after(leaf.not_after - (leaf.not_after - leaf.not_before) * LAST_PART)


def differs(facts: Facts) -> bool:
    """Whether any file is not as the chosen certificates want it."""
    return any(compare_files(facts, place, candidate.certificate) for place, candidate in facts.selection.chosen)


def compare_files(facts: Facts, place: Place, certificate: Certificate) -> list[Finding]:
    """How the files of a place differ from the wanted ones."""
    present = {path: file for path in place.paths if (file := facts.observed.files.get(path))}
    if missing := [str(path) for path in place.paths if path not in present]:
        return [Finding(Reason.NOT_INSTALLED, f"missing: {', '.join(missing)}")]
    different = [path for path, content in place.contents(certificate).items() if present[path].content != content]
    if different and not _installed(place, facts.observed).means(certificate):
        return [_name_difference(facts, place, certificate, different)]
    return _compare_modes(facts.target, place, present)


def _name_difference(facts: Facts, place: Place, certificate: Certificate, different: list[PurePosixPath]) -> Finding:
    files = ", ".join(map(str, different))
    installed = installed_leaf(place, facts.observed)
    if installed is None or installed.fingerprint != certificate.fingerprint:
        was = f"{installed.short} until {installed.not_after:%Y-%m-%d}" if installed else "no certificate"
        leaf = certificate.leaf
        return Finding(Reason.LEAF_DIFFERS, f"{files}: {was}, should be {leaf.short} until {leaf.not_after:%Y-%m-%d}")
    if set(different) <= {place.key}:
        return Finding(Reason.KEY_DIFFERS, f"{files} does not hold the certificate's key as the source has it")
    return Finding(Reason.CHAIN_DIFFERS, f"{files}: the leaf is right, what stands beside it is not")


def _compare_modes(target: Target, place: Place, present: dict[PurePosixPath, InstalledFile]) -> list[Finding]:
    findings = []
    for path, file in present.items():
        if target.owner and (file.uid, file.gid) != target.owner:
            findings.append(Finding(Reason.MODE_DIFFERS, f"{path} belongs to {file.uid}:{file.gid}"))
        if target.mode is not None and path in place.private and file.mode != target.mode:
            findings.append(Finding(Reason.MODE_DIFFERS, f"{path} has mode {file.mode:04o}"))
    return findings


def preflight(facts: Facts, place: Place, certificate: Certificate) -> Finding | None:
    """Why a certificate must not replace what is installed in a place now; ``None`` when it may (design §7)."""
    installed = installed_leaf(place, facts.observed)
    if installed is None or facts.target.allow_untrusted or not _worth_keeping(installed, place, facts):
        return None
    if place.slot.fill and installed.key_type is not certificate.leaf.key_type:
        return None  # two of one type would leave the services without any
    trust = _installed(place, facts.observed).trust
    if trust > certificate.trust:
        return Finding(
            Reason.UNTRUSTED_ISSUER,
            f"{certificate.leaf.short} of {certificate.leaf.issuer} ({certificate.trust.name.lower()}) would replace"
            f" {installed.short} of {installed.issuer} ({trust.name.lower()}), valid until {installed.not_after:%Y-%m-%d}",
        )
    if certificate.trust is trust is Trust.SELF_SIGNED and certificate.leaf.issuer != installed.issuer:
        return Finding(
            Reason.UNTRUSTED_ISSUER,
            f"{certificate.leaf.short} is self-signed and would replace {installed.short}, which is so, too, and works;"
            " remove the installed files to force it",
        )
    if trust == certificate.trust and installed.not_before > certificate.leaf.not_before:
        return Finding(
            Reason.WOULD_DOWNGRADE,
            f"{certificate.leaf.short} begins {certificate.leaf.not_before:%Y-%m-%d %H:%M}, the installed {installed.short}"
            f" begins later, {installed.not_before:%Y-%m-%d %H:%M}; remove the installed files to force it",
        )
    return None


def _worth_keeping(installed: Leaf, place: Place, facts: Facts) -> bool:
    """Whether the installed pair is what is asked for and works, so that only something better may replace it."""
    return place.slot.key_type in (None, installed.key_type) and works(place, facts)


def works(place: Place, facts: Facts) -> bool:
    """Whether the pair that stands in a place is valid now, for the names asked for, and with its key."""
    installed = installed_leaf(place, facts.observed)
    if installed is None or facts.at.is_before(installed.not_before) or facts.at.is_after(installed.not_after):
        return False
    return _covers_all(installed, facts.target.domains) and _installed(place, facts.observed).key_fits


def is_good_until(leaf: Leaf, facts: Facts, rest: timedelta) -> bool:
    """Whether a leaf names what is asked for, and is valid now and for so much longer."""
    begun = not facts.at.is_before(leaf.not_before)
    return begun and not facts.at.is_after(leaf.not_after - rest) and _covers_all(leaf, facts.target.domains)


def _covers_all(leaf: Leaf, domains: Sequence[str]) -> bool:
    names = frozenset(leaf.names)
    return all(pki.covers(names, domain) for domain in domains)


def installed_leaf(place: Place, observed: Observed) -> Leaf | None:
    """The leaf that stands in a place's certificate file; ``None`` where none does, or something that does not parse."""
    return _installed(place, observed).leaf


def _installed(place: Place, observed: Observed) -> _Installed:
    """What stands in a place, parsed once however often it is asked for: as often as there are candidates."""
    if place not in observed.understood:
        observed.understood[place] = _Installed(place, observed)
    found: _Installed = observed.understood[place]
    return found


class _Installed:
    """The pair that stands in a place, each fact found out when it is first asked for. It lives as long as the `Observed`."""

    def __init__(self, place: Place, observed: Observed) -> None:
        self._files = observed.files
        self._place = place

    @cached_property
    def leaf(self) -> Leaf | None:
        try:
            return pki.parse_leaf(self._certificate) if self._certificate else None
        except MalformedPem:
            return None

    @cached_property
    def trust(self) -> Trust:
        try:
            return pki.trust_of(self._certificate + b"\n" + self._content(self._place.chain))
        except MalformedPem:
            return Trust.SELF_SIGNED  # no client gets beyond a chain that does not parse

    @cached_property
    def key_fits(self) -> bool:
        return self.leaf is not None and bool(self._key) and pki.key_fits(self.leaf, self._key)

    def means(self, certificate: Certificate) -> bool:
        """Whether it is the same certificate, chain and key, in whatever form they are written."""
        if self.leaf is None or self.leaf.fingerprint != certificate.fingerprint or self._whole is None:
            return False
        return self._whole.fullchain_pem == certificate.fullchain_pem

    @cached_property
    def _whole(self) -> Certificate | None:
        try:
            return pki.parse_certificate(self._certificate + b"\n" + self._content(self._place.chain), self._key)
        except CertificateError:
            return None

    @property
    def _key(self) -> bytes:
        return self._content(self._place.key or self._place.combined)

    @property
    def _certificate(self) -> bytes:
        return self._content(self._place.certificate or self._place.combined)

    def _content(self, path: PurePosixPath | None) -> bytes:
        file = self._files.get(path) if path else None
        return file.content if file else b""


def expected_leaves(facts: Facts) -> dict[str, Leaf]:
    """Every leaf that a port may rightly hand out, by fingerprint: the chosen ones, and those of places left as they are."""
    leaves = {c.certificate.fingerprint: c.certificate.leaf for _, c in facts.selection.chosen}
    chosen_places = [place for place, _ in facts.selection.chosen]
    for place in facts.target.places:
        if (place not in chosen_places or facts.target.written_by) and (leaf := installed_leaf(place, facts.observed)):
            leaves[leaf.fingerprint] = leaf
    return leaves


def wanted_ports(target: Target, listening: frozenset[int] | None) -> tuple[ProbePort, ...]:
    """The ports to ask: those the operator listed, else those of the profile that listen (all where that is unknown)."""
    if target.probe_required or listening is None:
        return target.probe
    return tuple(port for port in target.probe if port.port in listening)


def stale_ports(facts: Facts) -> list[str]:
    """One sentence for each port that does not hand out what it should."""
    expected = expected_leaves(facts)
    return [text for served in facts.served if (text := port_problem(served, expected, facts.target))]


def port_problem(served: Served, expected: dict[str, Leaf], target: Target) -> str:
    """What is wrong with one port, or nothing. A port that is closed or without TLS matters if the operator listed it."""
    if served.unknown:
        return ""
    if served.leaf is None:
        excused = (served.refused or served.plain) and not target.probe_required
        return "" if excused else f"port {served.port}: {served.error}"
    if served.leaf.fingerprint in expected:
        return ""
    wanted = " or ".join(leaf.short for leaf in expected.values())
    return f"port {served.port} hands out {served.leaf.short}, not {wanted}"


def daemons_up(facts: Facts) -> bool:
    """Whether there is anything to reload and prove: a port answers, or none is to be asked, or the start is long past."""
    up = not facts.target.probe or any(served.leaf or not served.refused for served in facts.served)
    if up and not facts.target.starting:
        return True
    return facts.age is None or facts.age > facts.start_grace


def _shown(facts: Facts) -> bool:
    """Whether a port shows that the services loaded what was installed last: its leaf is another one than the previous."""
    before = replace(facts.observed, files=facts.observed.files | facts.observed.previous)
    replaced = {leaf.fingerprint for place in facts.target.places if (leaf := installed_leaf(place, before))}
    served = {served.leaf.fingerprint for served in facts.served if served.leaf}
    return bool(served & expected_leaves(facts).keys() - replaced)
