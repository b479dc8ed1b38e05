"""What must hold in every world: certferry's verdict is a libssl client's, and what it delivers is what that client needs.

A difference is a fault, unless a row of `tests.differential.explained` says why it is there and whose the other opinion is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property

from cryptography import x509

from controller.domain.certificate import Trust
from tests.differential import commands, explained, libssl
from tests.differential.judged import Verdict, judge, problems_of_a_port
from tests.differential.plans import ITSELF, LEAF, WANTED, Dates, LeafPlan, Plan, Usage, host_of
from tests.differential.worlds import NOW, World, make, pem


class Difference(AssertionError):
    """certferry and OpenSSL do not agree, and no row explains it."""


@dataclass(frozen=True)
class Case:
    """A world, what certferry makes of it, and what clients say."""

    world: World
    verdict: Verdict

    @cached_property
    def host(self) -> str:
        """The name that a client asks for; empty where no client would accept any, so that none is compared."""
        return host_of(self.world.plan.leaf.names)

    def accepted(self, chain: Sequence[x509.Certificate]) -> libssl.Answer:
        """What a client says of a chain, with the roots that certferry was judging by."""
        return self._asked(chain, self.world.key_pem)

    def _asked(self, chain: Sequence[x509.Certificate], key: bytes) -> libssl.Answer:
        return libssl.accepts(pem(chain), key, self.world.roots_pem, self.host)

    @cached_property
    def delivered(self) -> libssl.Answer:
        """What a client says of what certferry delivers, chain and key."""
        return self._asked(self.verdict.delivered, self.verdict.key_pem)

    @cached_property
    def best(self) -> tuple[x509.Certificate, ...]:
        """Anything that a client accepts, of all paths that there are; empty where there is none."""
        return next((path for path in self.world.paths() if self.accepted(path).accepted), ())

    @cached_property
    def own_best(self) -> tuple[x509.Certificate, ...]:
        """The same of the producer's file alone."""
        own = set(self.world.own)
        return next((path for path in self.world.paths() if own.issuperset(path) and self.accepted(path).accepted), ())


def check(plan: Plan, *, ask_commands: bool = False) -> Counter[str]:
    """Compare everything in the world of a plan, and tell what was met.

    Raises:
        Difference: something that nobody explained.
    """
    world = make(plan)
    case = Case(world, judge(world))
    met = Counter[str]()
    for compare in _PROPERTIES:
        met.update(compare(case))
    if ask_commands:
        met.update(_commands_agree(case))
    met["usable" if case.verdict.is_usable else "refused"] += 1
    met["a client accepts it" if case.best else "no client accepts it"] += 1
    return met


def _trusted_is_accepted(case: Case) -> Iterator[str]:
    """Never milder: what is called trusted, a client accepts; what is called usable, a server loads."""
    if not case.verdict.is_usable:
        return
    if case.delivered.why.startswith("the server"):
        raise Difference(f"it is called usable, but {case.delivered.why}")
    if case.verdict.trust is Trust.PUBLIC and not case.delivered.accepted:
        yield _explained(explained.MILDER, case, f"it is called trusted, but a client says: {case.delivered.why}")


def _accepted_is_trusted(case: Case) -> Iterator[str]:
    """Complete: where a client accepts some choice of what there is, it accepts what is delivered, and we call that trusted."""
    if not case.best:
        return
    if not case.verdict.is_usable:
        yield _explained(explained.STRICTER, case, f"a client accepts it, but it is refused: {case.verdict.why}")
    elif case.verdict.trust is not Trust.PUBLIC:
        yield _explained(
            explained.STRICTER, case, f"a client accepts it, but it is called {case.verdict.trust}: {case.verdict.why}"
        )
    elif not case.delivered.accepted:
        raise Difference(f"a client accepts another chain, but of this one it says: {case.delivered.why}")


def _refused_kinds_are_refused(case: Case) -> Iterator[str]:
    """What the design calls refused comes out of no door as something to be delivered, however good its chain is."""
    kind = refused_kind(case.world.plan.leaf)
    if kind and case.verdict.is_usable:
        raise Difference(f"it is usable, though it is refused: {kind}")
    if kind:
        yield f"refused: {kind}"


def refused_kind(leaf: LeafPlan) -> str:
    """Why a leaf must be refused, whatever its chain."""
    if leaf.dates in (Dates.ENDED, Dates.LATER):
        return leaf.dates.name
    if not host_of(leaf.names) or leaf.usage is Usage.VERSION_1:
        return "no host name"
    if leaf.kind in WEAK_KINDS:
        return leaf.kind
    if leaf.usage is Usage.SHA1 or leaf.usage in _AUTHORITIES:
        return "" if leaf.by == ITSELF else leaf.usage.name
    if leaf.usage is Usage.ONLY_ENCIPHERMENT and leaf.kind == "rsa2048":
        return ""
    return leaf.usage.name if leaf.usage in _REFUSED_USAGES else ""


WEAK_KINDS = ("rsa1024", "p224", "k1")
_AUTHORITIES = (Usage.AUTHORITY, Usage.AUTHORITY_THAT_SIGNS)
_REFUSED_USAGES = (
    Usage.ANY,
    Usage.CLIENT_ONLY,
    Usage.MAIL_ONLY,
    Usage.ONLY_ENCIPHERMENT,
    Usage.ONLY_AGREEMENT,
    Usage.ONLY_DATA,
    Usage.ONLY_CERT_SIGN,
)


def _delivered_is_clean(case: Case) -> Iterator[str]:
    """Leaf first, each followed by who issued it, none twice, and no root."""
    delivered = case.verdict.delivered
    if not case.verdict.is_usable:
        return
    if delivered[0] != case.world.leaf:
        raise Difference("the leaf is not the first")
    if len(set(delivered)) < len(delivered):
        raise Difference("something is delivered twice")
    places = [LEAF if one == case.world.leaf else case.world.authorities.index(one) for one in delivered]
    yield f"{len(places)} delivered"
    by = case.world.plan.leaf.by
    for place in places[1:]:
        one = case.world.plan.authorities[place]
        if by == ITSELF or one.who != by:
            raise Difference("what is delivered did not issue the one before it")
        if one.is_root:
            raise Difference("a root is delivered")
        by = one.by


def _own_chain_is_kept(case: Case) -> Iterator[str]:
    """Where the producer's file verifies, nothing from elsewhere is delivered."""
    if case.own_best and case.verdict.is_usable and not set(case.world.own).issuperset(case.verdict.delivered):
        raise Difference("the producer's own chain verifies, and another is delivered")
    if case.own_best:
        yield "own chain"
    elif case.best:
        yield "completed"


def _order_is_nothing(case: Case) -> Iterator[str]:
    """The verdict is the same, whatever the order in which the certificates are found."""
    for changed in _others_orders(case.world):
        verdict = judge(changed)
        if (verdict.is_usable, verdict.trust) != (case.verdict.is_usable, case.verdict.trust):
            raise Difference(f"in another order it is {verdict}, not {case.verdict}")
        yield "other order"


def _verdict_holds(case: Case) -> Iterator[str]:
    """Up to the moment that certferry names, or to the leaf's end, nothing changes by itself."""
    until = min(case.verdict.until or case.world.leaf.not_valid_after_utc, case.world.leaf.not_valid_after_utc)
    if case.verdict.trust is None or until <= NOW:
        return
    then = judge(case.world, until - timedelta(seconds=1))
    if then.trust is not case.verdict.trust:
        raise Difference(f"it is {case.verdict} until {until}, but a second before that {then}")
    yield "verdict holds"


def _probe_is_a_client(case: Case) -> Iterator[str]:
    """Of a port that hands out what the producer wrote, as it wrote it, `certferry probe` says what a client says."""
    sent = [case.world.leaf, *(one for one in case.world.own if one != case.world.leaf)]
    answer = libssl.accepts(pem(sent), case.world.key_pem, case.world.roots_pem, WANTED)
    if answer.why.startswith("the server"):
        return
    problems = problems_of_a_port(case.world, sent, WANTED)
    if not problems and not answer.accepted:
        raise Difference(f"certferry probe finds nothing, but a client says: {answer.why}")
    if problems and answer.accepted:
        refused = Verdict(False, "; ".join(problems))
        yield _explained(
            explained.STRICTER, replace(case, verdict=refused), f"a client accepts what probe does not: {problems}"
        )
    yield f"probe: {'accepted' if not problems else 'refused'}"


def _others_orders(world: World) -> Iterator[World]:
    own, pool = world.plan.own, world.plan.pool
    seen = {(own, pool)}
    for changed in ((own[::-1], pool[::-1]), ((*own[1:], *own[:2]), pool[1:] + pool[:1])):
        if changed not in seen:
            seen.add(changed)
            yield make(replace(world.plan, own=changed[0], pool=changed[1]))


_PROPERTIES = (
    _trusted_is_accepted,
    _accepted_is_trusted,
    _refused_kinds_are_refused,
    _delivered_is_clean,
    _own_chain_is_kept,
    _order_is_nothing,
    _verdict_holds,
    _probe_is_a_client,
)


def _commands_agree(case: Case) -> Iterator[str]:
    """The openssl command says of everything at once, and of what is delivered, what libssl says."""
    everything = [*case.world.own, *case.world.pool]
    found, said = commands.verify(case.world.leaf, everything, case.world.roots_pem, case.host)
    if found != bool(case.best):
        yield _explained(explained.VERIFY_MILDER if found else explained.VERIFY_STRICTER, case, f"openssl verify says: {said}")
    yield "openssl verify"
    if not case.verdict.is_usable:
        return
    serving = libssl.server(pem(case.verdict.delivered), case.verdict.key_pem)
    accepted, said = commands.s_client(serving, case.world.roots_pem, case.host)
    if accepted != case.delivered.accepted:
        raise Difference(f"libssl says {case.delivered}, and openssl s_client: {said}")
    yield "openssl s_client"


def _explained(rows: Sequence[explained.Row], case: Case, difference: str) -> str:
    """The row that explains a difference."""
    for row in rows:
        if row.applies(case.world.plan, case.verdict):
            return f"explained: {row.name}"
    raise Difference(difference)
