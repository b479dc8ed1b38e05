"""What must change in a target, and why. Pure: every input is in `Facts`, every answer in `Decision`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import PurePosixPath

from controller.domain.certificate import Certificate, KeyType, Leaf, Trust
from controller.domain.container import Mount, State
from controller.domain.finding import Finding, Reason
from controller.domain.moment import EARLIEST, Moment
from controller.domain.observed import Expected, InstalledFile, Observed, Served
from controller.domain.origin import Known, Renewer
from controller.domain.snapshot import Snapshot
from controller.domain.target import Place, ProbePort, Target
from controller.expiry import when
from controller.installed import installed_leaf, pair_in
from controller.selection import Candidate, Selection
from controller.served_chain import gap
from controller.switching import NO_SWITCH, Origin, Verdict, judge
from controller.x509.hostnames import covers
from controller.x509.pairs import trust_of

OTHERS_LIMIT = 60.0
"""Seconds that whoever else writes the files is given to take up a new certificate."""

UNFINISHED_LIMIT = 5.0
"""Seconds that another program is given between its writes of the two files of a pair: nobody writes over what is half done."""

READ_ONLY_LIMIT = 10.0
"""Seconds that whoever keeps files which are read-only here is given before it is told that they cannot be written."""

EARLY = timedelta(hours=48)
"""A certificate may begin by so much after it was signed (CA/Browser Forum, Baseline Requirements 7.1.2.7)."""


_NO_GOOD_CHAIN = {Trust.INCOMPLETE, Trust.REFUSED}
"""Of two chains that clients refuse neither is better."""


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
    """Seconds since the files were first seen to differ from what is chosen now."""
    moment: Moment | None = None
    """What time it is as far as dates of certificates are concerned; ``None`` where nothing speaks against `now`."""
    known: Known = field(default_factory=Known)
    origins: Mapping[Place, Origin] = field(default_factory=dict, repr=False)
    """Who delivered what works in a place; `controller.choosing` finds it out where that matters."""
    renewers: Mapping[str, Renewer] = field(default_factory=dict, repr=False)
    """Who should renew what is installed, by the leaf's fingerprint."""
    unused: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Containers that look like proxies, by name, and what makes sources of them."""
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


def judge_source(facts: Facts, place: Place, candidate: Candidate) -> Verdict:
    """Whether its source may deliver what is to replace the pair that works in a place."""
    origin = facts.origins.get(place)
    if origin is None or origin.installed.leaf.fingerprint == candidate.certificate.fingerprint:
        return NO_SWITCH
    return judge(candidate, origin, facts.known, facts.target.sources, facts.at)


def decide(facts: Facts) -> Decision:
    """Compare what is wanted with what is there."""
    if facts.selection.finding:
        return Decision(refused=facts.selection.finding)
    findings: list[Finding] = []
    write: dict[PurePosixPath, bytes] = {}
    for place, candidate in facts.selection.chosen:
        found = _differences(facts, place, candidate)
        if found and (left := _left_to_others(facts, place, found[0])):
            return left
        if found and (refusal := preflight(facts, place, candidate)):
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
    problems = _port_problems(facts)
    silent = bool(problems) and not any(served.leaf for served, _ in problems)
    if facts.observed.pending and not facts.loaded and not _shown(facts):
        return Decision((Finding(Reason.RELOAD_PENDING, "a reload after the last change was not confirmed"),), reload=True)
    if problems:
        return Decision((Finding(Reason.SERVED_DIFFERS, "; ".join(text for _, text in problems)),), reload=True, silent=silent)
    return Decision()


def _differences(facts: Facts, place: Place, candidate: Candidate) -> list[Finding]:
    """How the files of a place differ from those of a candidate, and of a switch of source why it is one."""
    found = compare_files(facts, place, candidate.certificate)
    if not candidate.switch:
        return found
    return [Finding(finding.reason, f"{finding.message}; {candidate.switch}") for finding in found]


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
    if installed is None or not pair_in(place, facts.observed).key_fits:
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
    works = [leaf and is_worth_keeping(leaf, place, facts) for place, leaf in zip(places, held, strict=True)]
    if all(works) and not any(leaf and _is_near_its_end(leaf, facts) for leaf in held):
        return _decide_without_writing(facts, running=running)
    text = "; ".join((f"{found.message}; it was not brought by {facts.target.written_by}", *facts.target.notes))
    return Decision(refused=Finding(found.reason, text))


def _left_to_others(facts: Facts, place: Place, found: Finding) -> Decision | None:
    """Where another writes the files, or is at them now, or where nobody else can: it is given its time, and then no more."""
    if facts.target.written_by:
        return _leave_to_other(facts, found)
    if _is_unfinished(place, facts):
        limit, what = UNFINISHED_LIMIT, "key and certificate do not belong together: waiting for whoever writes them to finish"
    elif _is_read_only(place, facts):
        limit, what = READ_ONLY_LIMIT, "waiting for whoever keeps these files, which are read-only here"
    else:
        return None
    if facts.differs_for >= limit:
        return None
    pause = min(max(0.5, facts.differs_for / 2), limit - facts.differs_for)
    return Decision((Finding(Reason.RELOAD_PENDING, f"{found.message}; {what}"),), wait=True, pause=pause)


def _is_unfinished(place: Place, facts: Facts) -> bool:
    """Whether somebody else may be between two writes: both files are there, do not fit, and others can reach them.

    Where certferry itself was interrupted, it kept what was there before; empty files only hold a place.
    """
    pair = pair_in(place, facts.observed)
    shared = any(_mount_of(path, facts) for path in place.paths)
    return shared and pair.is_there and not pair.key_fits and not facts.observed.previous


def _is_read_only(place: Place, facts: Facts) -> bool:
    mounts = [_mount_of(path, facts) for path in place.paths]
    return all(mount is not None and not mount.writable for mount in mounts)


def _mount_of(path: PurePosixPath, facts: Facts) -> Mount | None:
    return facts.target.container.mount_of(facts.observed.resolved.get(path, path))


def _is_near_its_end(leaf: Leaf, facts: Facts) -> bool:
    return facts.at.is_after(leaf.late)


def differs(facts: Facts) -> bool:
    """Whether any file is not as the chosen certificates want it."""
    return any(compare_files(facts, place, candidate.certificate) for place, candidate in facts.selection.chosen)


def compare_files(facts: Facts, place: Place, certificate: Certificate) -> list[Finding]:
    """How the files of a place differ from the wanted ones."""
    present = {path: file for path in place.paths if (file := facts.observed.files.get(path))}
    if missing := [str(path) for path in place.paths if path not in present]:
        return [Finding(Reason.NOT_INSTALLED, f"missing: {', '.join(missing)}")]
    different = _differing(facts, place, certificate)
    if different and not pair_in(place, facts.observed).means(certificate, facts.now):
        return [_name_difference(facts, place, certificate, different)]
    return _compare_modes(facts.target, place, present)


def _differing(facts: Facts, place: Place, certificate: Certificate) -> list[PurePosixPath]:
    """The files of a place that are not byte by byte as the certificate would have them."""
    files = facts.observed.files
    return [path for path, content in place.contents(certificate).items() if (f := files.get(path)) and f.content != content]


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


def preflight(facts: Facts, place: Place, candidate: Candidate) -> Finding | None:
    """Why a certificate must not replace what is installed in a place now; ``None`` when it may (design §4)."""
    installed, certificate = installed_leaf(place, facts.observed), candidate.certificate
    if installed is None or not is_worth_keeping(installed, place, facts):
        return None
    if place.slot.fill and installed.key_type is not certificate.leaf.key_type:
        return None  # two of one type would leave the services without any
    trust = pair_in(place, facts.observed).trust(facts.now)
    if not facts.target.allow_untrusted and (worse := _less_accepted(facts, place, candidate, installed)):
        return worse
    source = judge_source(facts, place, candidate)
    if not source.allowed:
        return Finding(Reason.OTHER_SOURCE, f"{certificate.leaf.short} is another source's: {source.why}")
    if not facts.target.allow_untrusted and not source.why and _steps_back(facts, place, candidate, trust):
        return Finding(
            Reason.WOULD_DOWNGRADE,
            f"{certificate.leaf.short} begins {certificate.leaf.not_before:%Y-%m-%d %H:%M}, the installed {installed.short}"
            f" begins later, {installed.not_before:%Y-%m-%d %H:%M}; the label allow-untrusted would take it",
        )
    return None


def _less_accepted(facts: Facts, place: Place, candidate: Candidate, installed: Leaf) -> Finding | None:
    """Why fewer clients accept a certificate than the `installed` one."""
    pair, certificate = pair_in(place, facts.observed), candidate.certificate
    trust = pair.trust(facts.now)
    if trust > certificate.trust and not _may_renew(facts, place, candidate, trust):
        return _less_trusted(installed, trust, certificate)
    if trust is certificate.trust and certificate.warnings and not pair.warnings:
        text = f"{certificate.leaf.short} would replace {installed.short}, which all clients accept: {certificate.warnings[0]}"
        return Finding(Reason.SOME_CLIENTS_REFUSE, text)
    return _less_trusted(installed, trust, certificate) if certificate.trust is trust is Trust.SELF_SIGNED else None


def _may_renew(facts: Facts, place: Place, candidate: Candidate, trust: Trust) -> bool:
    """Whether a less trusted certificate is a renewal all the same, by whoever delivered the installed pair.

    An intermediate with which no server starts lies in the source alone, so by its files the installed pair is no worse for it.
    """
    certificate, installed = candidate.certificate, installed_leaf(place, facts.observed)
    origin = facts.origins.get(place)
    if installed is None or origin is None or candidate.source not in origin.sources:
        return False
    if _has_a_new_root(certificate, installed) or {certificate.trust, trust} == _NO_GOOD_CHAIN:
        return True
    return certificate.trust is Trust.REFUSED and trust_of(certificate.fullchain_pem, facts.now) >= trust


def _has_a_new_root(certificate: Certificate, installed: Leaf) -> bool:
    """Whether only the root of a renewal is not known here, and everything up to that root was verified.

    A list of roots that ages must not hold up a renewal (design §4). The same authority, or any that is a public one.
    """
    alike = certificate.trust is Trust.PRIVATE and certificate.leaf.organisation == installed.organisation
    return certificate.root_unknown and (certificate.trust is Trust.ROOT_UNKNOWN or alike)


def _less_trusted(installed: Leaf, trust: Trust, certificate: Certificate) -> Finding | None:
    """Why a certificate is less trusted than the `installed` one."""
    if trust > certificate.trust:
        return Finding(
            Reason.UNTRUSTED_ISSUER,
            f"{certificate.leaf.short} of {certificate.leaf.issuer} ({certificate.vouched.called}) would replace"
            f" {installed.short} of {installed.issuer} ({trust.called}), valid until {installed.not_after:%Y-%m-%d}"
            f"{certificate.why and f': {certificate.why}'}",
        )
    if certificate.trust is trust is Trust.SELF_SIGNED and certificate.leaf.issuer != installed.issuer:
        return Finding(
            Reason.UNTRUSTED_ISSUER,
            f"{certificate.leaf.short} is self-signed and would replace {installed.short}, which is so, too, and works;"
            " the label allow-untrusted would take it",
        )
    return None


def _steps_back(facts: Facts, place: Place, candidate: Candidate, trust: Trust) -> bool:
    """Whether it is older than what the same authority issued: a store that was restored from a backup.

    Not where the installed pair is in the last fifth of its life and this one is not: it was issued for longer.
    Dates of different authorities say nothing, and who is no public one may call itself what it likes: then it is the same one
    where its certificate signed both, or where the source is known to have delivered the installed pair.
    """
    leaf, installed = candidate.certificate.leaf, installed_leaf(place, facts.observed)
    if installed is None or trust != candidate.certificate.trust or installed.not_before <= leaf.not_before:
        return False
    origin = facts.origins.get(place)
    outlived = facts.at.is_after(installed.late) and not facts.at.is_after(leaf.late)
    if installed.organisation != leaf.organisation or outlived:
        return False
    sure = origin is None or origin.sure or trust is Trust.PUBLIC
    return sure or pair_in(place, facts.observed).has_issuer_of(candidate.certificate)


def is_worth_keeping(installed: Leaf, place: Place, facts: Facts) -> bool:
    """Whether the installed pair is what is asked for and works, so that only something better may replace it."""
    return place.slot.key_type in (None, installed.key_type) and works(place, facts)


def works(place: Place, facts: Facts) -> bool:
    """Whether the pair that stands in a place is valid now, for the names asked for, and with its key."""
    installed = installed_leaf(place, facts.observed)
    if installed is None or facts.at.is_before(installed.not_before) or facts.at.is_after(installed.not_after):
        return False
    return _covers_all(installed, facts.target.domains) and pair_in(place, facts.observed).key_fits


def is_good_until(leaf: Leaf, facts: Facts, part: float) -> bool:
    """Whether a leaf names what is asked for, and is valid now and until so much of its life is left."""
    begun = not facts.at.is_before(leaf.not_before)
    return begun and not facts.at.is_after(when(leaf, part)) and _covers_all(leaf, facts.target.domains)


def _covers_all(leaf: Leaf, domains: Sequence[str]) -> bool:
    names = frozenset(leaf.names)
    return all(covers(names, domain) for domain in domains)


def expected(facts: Facts) -> tuple[Expected, ...]:
    """All that a port may rightly hand out: what is chosen, and what stands in places left as they are.

    Of a pair that means the same as the chosen one and so stays, the chain in the files counts.
    """
    found = []
    for place, candidate in facts.selection.chosen:
        certificate = candidate.certificate
        otherwise = _differing(facts, place, certificate) and not compare_files(facts, place, certificate)
        chain = pair_in(place, facts.observed).chain_pem if otherwise else certificate.chain_pem
        found.append(Expected(certificate.leaf, chain))
    chosen_places = [place for place, _ in facts.selection.chosen]
    left = [place for place in facts.target.places if place not in chosen_places or facts.target.written_by]
    return (*found, *_standing(left, facts))


def acceptable(facts: Facts) -> tuple[Expected, ...]:
    """The same, and whatever is installed now."""
    return (*expected(facts), *_standing(facts.target.places, facts))


def _standing(places: Iterable[Place], facts: Facts) -> Iterator[Expected]:
    for place in places:
        pair = pair_in(place, facts.observed)
        if pair.leaf:
            yield Expected(pair.leaf, pair.chain_pem)


def key_types(facts: Facts) -> tuple[KeyType | None, ...]:
    """The key types to ask each port for. A handshake shows one certificate, so where two are chosen it takes one for each."""
    types = dict.fromkeys(c.certificate.leaf.key_type for _, c in facts.selection.chosen)
    return tuple(types) if len(types) > 1 and KeyType.OTHER not in types else (None,)


def wanted_ports(target: Target, listening: frozenset[int] | None) -> tuple[ProbePort, ...]:
    """The ports to ask: those the operator listed, else those of the profile that listen (all where that is unknown)."""
    if target.probe_required or listening is None:
        return target.probe
    return tuple(port for port in target.probe if port.port in listening)


def _port_problems(facts: Facts) -> list[tuple[Served, str]]:
    """Each port that does not hand out what it should, with a sentence."""
    wanted = expected(facts)
    return [(served, text) for served in facts.served if (text := port_problem(served, wanted, facts.target))]


def port_problem(served: Served, wanted: Sequence[Expected], target: Target) -> str:
    """What is wrong with one port, or nothing. A port that is closed or without TLS matters if the operator listed it."""
    if served.unknown:
        return ""
    if served.leaf is None:
        excused = (served.refused or served.plain) and not target.probe_required
        return "" if excused else f"port {served.port}: {served.error}"
    if not is_expected(served, wanted):
        leaves = " or ".join(dict.fromkeys(each.leaf.short for each in wanted))
        return f"port {served.port} hands out {served.leaf.short}, not {leaves}"
    return chain_problem(served, wanted)


def is_expected(served: Served, wanted: Iterable[Expected]) -> bool:
    """Whether the leaf that was handed out is a right one."""
    return served.leaf is not None and any(each.leaf.fingerprint == served.leaf.fingerprint for each in wanted)


def chain_problem(served: Served, wanted: Iterable[Expected]) -> str:
    """What is missing behind a right leaf; nothing where one of the chains that may stand there is complete."""
    leaf = served.leaf
    gaps = [gap(each.chain_pem, served.chain_pem) for each in wanted if leaf and each.leaf.fingerprint == leaf.fingerprint]
    return f"port {served.port} hands out {leaf.short} {gaps[0]}" if leaf and gaps and all(gaps) else ""


def not_askable(facts: Facts) -> list[Served]:
    """Ports of which nothing is known. Where one certificate was seen, it is only said that another could not be asked for."""
    answered = {served.port for served in facts.served if served.leaf}
    return [served for served in facts.served if served.unknown and served.port not in answered]


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
    return bool(served & {each.leaf.fingerprint for each in expected(facts)} - replaced)
