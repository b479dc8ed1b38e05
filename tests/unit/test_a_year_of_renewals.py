"""A year of virtual time with producers as they are, and with one that stops: what is delivered, and what is said.

The schedules: Traefik v3 and v2 (``getCertificateRenewDurations``: by each certificate's life, or by the configured 90 days),
certbot 4 and later (a third of the life left, half of one shorter than ten days, twice a day at a random moment), acme.sh, once
a day, and acme-companion, once an hour (a third), certmagic, which is Caddy's (a third, every ten minutes), lego (as certbot, by
the operator's daily timer).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from structlog.testing import capture_logs

from controller.domain.certificate import Certificate, Trust
from controller.domain.snapshot import Entry, Schedule, Snapshot, SourceStatus
from controller.reconciler import Outcome, Result
from sources.traefik_file import SCHEDULE
from tests.unit.made import DOMAIN, NOW, authority
from tests.unit.mailbox import TIMING, Mailbox, World
from tests.unit.virtual_time import clock, virtually

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
YEAR = 365 * DAY
SIX_DAYS = 160 * HOUR
"""Let's Encrypt's short-lived profile."""


def now() -> datetime:
    return NOW + timedelta(seconds=clock())


def issue(life: timedelta, *, begun: datetime | None = None, **options: Any) -> Certificate:
    """As an authority does: it begins an hour ago."""
    begun = begun or now() - HOUR
    pair = authority().issue(DOMAIN, days=life / DAY, age=datetime.now(UTC) - begun, **options)
    return replace(pair.certificate, trust=Trust.PUBLIC)


def third(life: timedelta) -> timedelta:
    return life / 3


def third_or_half(life: timedelta) -> timedelta:
    return life / 2 if life < 10 * DAY else life / 3


def as_traefik_does(life: timedelta) -> timedelta:
    return next(left for shortest, left in SCHEDULE if life >= shortest)


def thirty_days(_life: timedelta) -> timedelta:
    return 30 * DAY


@dataclass(frozen=True)
class Producer:
    """Renews when so much is `left` of a life; looks `every` so often, or at a random moment of that where it has no order."""

    left: Callable[[timedelta], timedelta]
    every: Callable[[timedelta], timedelta]
    random: bool = False
    schedule: Schedule = ()

    def looks(self, life: timedelta, off: timedelta, random: Random) -> Iterator[timedelta]:
        """When it looks; each month it is switched off once for that long, at any time, and looks when it is back."""
        every = self.every(life)
        start, down = random.random() * every, [n * 30 * DAY + random.random() * 29 * DAY for n in range(13)]
        for number in range(int(YEAR / every)):
            moment = start + number * every + (random.random() * every if self.random else timedelta(0))
            switched_off = next((begin for begin in down if begin <= moment < begin + off), None)
            yield moment if switched_off is None else switched_off + off


def intervals(life: timedelta) -> timedelta:
    return DAY if life >= 90 * DAY else 12 * HOUR if life >= 30 * DAY else 2 * HOUR


PRODUCERS = {
    "Traefik v3": Producer(as_traefik_does, intervals, schedule=SCHEDULE),
    "Traefik v2": Producer(thirty_days, lambda _: DAY, schedule=SCHEDULE),
    "certbot": Producer(third_or_half, lambda _: 12 * HOUR, random=True),
    "acme.sh": Producer(third, lambda _: DAY),
    "acme-companion": Producer(third, lambda _: HOUR),
    "Caddy": Producer(third, lambda _: HOUR / 6),
    "lego": Producer(third_or_half, lambda _: DAY, random=True),
}


@dataclass
class Year:
    """A mail container, certferry, and a source that is called traefik."""

    life: timedelta
    schedule: Schedule = ()
    world: World = field(init=False)
    renewed: int = 0
    lines: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.held = issue(self.life)
        self.world = World(Mailbox.holding(self.held), timing=replace(TIMING, resync=30 * DAY.total_seconds()))
        self.world.store.now = now
        self.offer(self.held)

    def offer(self, *held: Certificate) -> None:
        entries = tuple(Entry(f"le/{DOMAIN}", one) for one in held)
        self.world.store.put(Snapshot("traefik", entries, schedule=self.schedule))
        self.world.store.sources["traefik"] = SourceStatus(up=True, message="")

    def renew(self) -> None:
        self.held = issue(self.life)
        self.offer(self.held)
        self.renewed += 1

    async def look(self) -> Outcome:
        """All the looks that follow each other now; the outcome of the last."""
        while (outcome := await self.world.look()).result is Result.CHANGED:
            pass
        return outcome

    async def until(self, moment: datetime) -> None:
        """Look whenever that is due, until then."""
        while (left := (moment - now()).total_seconds()) > 0:
            outcome = await self.look()
            await asyncio.sleep(left if outcome.again is None else min(outcome.again, left))

    @property
    def words(self) -> list[tuple[str, float]]:
        """What was said of an end, and the part of the life that was left then."""
        return [(line["event"], line["left"]) for line in self.lines if line["event"].startswith("certificate.")]


async def a_year(producer: Producer, life: timedelta, *, off: timedelta, seed: int = 0) -> tuple[Year, list[Any]]:
    year = Year(life, producer.schedule)
    with capture_logs() as lines:
        for moment in producer.looks(life, off, Random(seed)):  # noqa: S311 -- the same each time
            leaf = year.held.leaf
            if leaf.not_after - (NOW + moment) < producer.left(life):
                await year.until(NOW + moment)
                year.renew()
                await year.look()
    return year, lines


@pytest.mark.parametrize("life", [90 * DAY, 64 * DAY, 45 * DAY, SIX_DAYS], ids=["90", "64", "45", "6"])
@pytest.mark.parametrize("name", PRODUCERS)
def test_no_word_is_said_and_each_renewal_is_delivered_once(name, life):
    """A day without the producer is more than a reserve of 29 hours allows for, so of six days half a day; whoever looks once a
    day only is not switched off then: what it misses it does with a tenth left, and that is worth a word."""
    producer = PRODUCERS[name]
    rare = producer.every(life) >= DAY and thirty_days is not producer.left
    off = DAY if life > SIX_DAYS else timedelta(0) if rare else DAY / 2

    async def work() -> None:
        year, lines = await a_year(producer, life, off=off)
        assert [line for line in lines if line["event"].startswith("certificate.")] == []
        assert year.renewed >= YEAR // life
        assert year.world.done() == ["apply", "check", "postfix reload"] * year.renewed
        assert year.world.box.in_use == year.held.leaf
        assert year.world.reason == ""

    virtually(work)()
