"""A year of virtual time with producers as they are, and with one that stops: what is delivered, and what is said.

The schedules: Traefik v3 and v2 (``getCertificateRenewDurations``: by each certificate's life, or by the configured 90 days),
certbot 4 and later (a third of the life left, half of one shorter than ten days, twice a day at a random moment), acme.sh, once
a day, and acme-companion, once an hour (a third), certmagic, which is Caddy's (a third, every ten minutes), lego (as certbot,
by the operator's daily timer).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from structlog.testing import capture_logs

from controller.domain.certificate import Certificate, Trust
from controller.domain.errors import CheckFailed
from controller.domain.moment import Reading
from controller.domain.snapshot import Entry, Schedule, Snapshot, SourceStatus
from controller.expiry import FIFTH, TENTH, TWENTIETH, when
from controller.reconciler import Outcome, Result, Timing
from sources.traefik_file import SCHEDULE
from tests.unit.made import DOMAIN, NOW, authority, target
from tests.unit.mailbox import TIMING, Mailbox, World
from tests.unit.virtual_time import clock, virtually

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
YEAR = 365 * DAY
SELDOM = replace(TIMING, resync=30 * DAY.total_seconds())
"""A resync that comes too late for all that is of interest here."""
SIX_DAYS = 160 * HOUR
"""Let's Encrypt's short-lived profile."""


def now() -> datetime:
    return NOW + timedelta(seconds=clock())


def issue(life: timedelta, *, begun: datetime | None = None, **options: Any) -> Certificate:
    """As an authority does: it begins an hour ago."""
    begun = begun or now() - HOUR
    pair = authority().issue(DOMAIN, days=life / DAY, age=datetime.now(UTC) - begun, **options)
    return replace(pair.certificate, trust=Trust.PUBLIC, why="", root_unknown=False)


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
    timing: Timing = SELDOM
    world: World = field(init=False)
    renewed: int = 0

    def __post_init__(self) -> None:
        self.held = issue(self.life)
        self.world = World(Mailbox.holding(self.held), timing=self.timing)
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


def words(lines: list[Any]) -> list[Any]:
    """What was said of ends."""
    return [line for line in lines if line["event"].startswith("certificate.")]


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


@pytest.mark.parametrize(
    ("name", "life"),
    [*((name, life) for name in PRODUCERS for life in (90 * DAY, 45 * DAY, SIX_DAYS)), ("Traefik v3", 64 * DAY)],
    ids=str,
)
def test_no_word_is_said_and_each_renewal_is_delivered_once(name, life):
    """A day without the producer is more than a reserve of 29 hours allows for, so of six days half a day; whoever looks once a
    day only is not switched off then: what it misses it does with a tenth left, and that is worth a word."""
    producer = PRODUCERS[name]
    rare = producer.every(life) >= DAY and thirty_days is not producer.left
    off = DAY if life > SIX_DAYS else timedelta(0) if rare else DAY / 2

    async def work() -> None:
        year, lines = await a_year(producer, life, off=off)
        assert words(lines) == []
        assert year.renewed >= YEAR // life
        assert year.world.done() == ["apply", "check", "postfix reload"] * year.renewed
        assert year.world.box.in_use == year.held.leaf
        assert year.world.reason == ""

    virtually(work)()


STEPS = (FIFTH, TENTH, TWENTIETH)


async def parts_told(year: Year, until: float = -0.01, *, pause: timedelta = timedelta(0)) -> list[float]:
    """Let the source renew no more until that part of the life is left: at which parts of it a word is said."""
    parts, leaf = [], year.held.leaf
    end = when(leaf, until)
    while now() < end:
        with capture_logs() as lines:
            outcome = await year.look()
        parts += [(leaf.not_after - now()) / (leaf.not_after - leaf.not_before) for _ in words(lines)]
        left = (end - now()).total_seconds()
        await asyncio.sleep(left if outcome.again is None else min(max(outcome.again, pause.total_seconds()), left))
    return parts


def roughly(*parts: float) -> Any:
    """Some seconds after these parts of a life of six days at least."""
    return pytest.approx(list(parts), abs=1e-5)


class TestASourceThatStopsRenewing:
    @pytest.mark.parametrize("life", [90 * DAY, 45 * DAY, SIX_DAYS], ids=str)
    @virtually
    async def test_is_told_of_three_times_and_at_the_end(self, life):
        year = Year(life)
        assert await parts_told(year) == roughly(*STEPS, 0.0)

    @virtually
    async def test_what_is_said_names_all_that_counts(self):
        year = Year(SIX_DAYS)
        leaf = year.held.leaf
        await year.until(when(leaf, FIFTH) - timedelta(minutes=1))
        await asyncio.sleep(120)
        with capture_logs() as lines:
            await year.look()
        end = f"{leaf.short} for {DOMAIN} expires in 31 hours ({leaf.not_after:%Y-%m-%d %H:%M} UTC)"
        why = "and traefik should have renewed it by now: the log of the program behind that source says why it did not"
        assert lines == [
            {
                "event": "certificate.expires_soon",
                "log_level": "warning",
                "target": "mail",
                "fingerprint": leaf.short,
                "names": DOMAIN,
                "not_after": leaf.not_after.isoformat(),
                "left": "31 hours",
                "source": "traefik",
                "message": f"{end}, {why}",
            }
        ]
        assert (year.world.reason, year.world.status.endings) == ("", (f"{end}, {why}",))
        assert year.world.status.condition.message.endswith(f"served on 993/imaps; {end}, {why}")

    @virtually
    async def test_the_target_stays_ready_until_it_has_expired(self):
        year = Year(SIX_DAYS)
        end = year.held.leaf.not_after
        await year.until(end - timedelta(seconds=1))
        await year.look()
        assert year.world.reason == ""
        await asyncio.sleep(2)
        with capture_logs() as lines:
            await year.look()
        assert year.world.reason == "Expired"
        assert [(line["event"], line["log_level"]) for line in words(lines)] == [("certificate.expired", "error")]
        (said,) = year.world.status.endings
        assert said.startswith(f"{year.held.leaf.short} for {DOMAIN} expired on {end:%Y-%m-%d %H:%M} UTC, and traefik should")

    @virtually
    async def test_nothing_is_said_twice_however_often_it_is_looked_at(self):
        year = Year(SIX_DAYS)
        await year.until(when(year.held.leaf, FIFTH) - timedelta(minutes=1))
        with capture_logs() as lines:
            for _ in range(20):
                await year.look()
                await asyncio.sleep(60)
        assert len(words(lines)) == 1

    @virtually
    async def test_after_a_restart_what_was_missed_is_said_at_once_and_once(self):
        year = Year(SIX_DAYS)
        await year.until(when(year.held.leaf, 0.07))
        year.world.__post_init__()
        assert await parts_told(year) == roughly(0.07, TWENTIETH, 0.0)

    @virtually
    async def test_where_it_renews_in_the_end_that_is_delivered_and_all_is_well(self):
        year = Year(SIX_DAYS)
        assert await parts_told(year, until=0.02) == roughly(*STEPS)
        year.renew()
        with capture_logs() as lines:
            await year.look()
        assert words(lines) == []
        assert (year.world.done(), year.world.status.endings) == (["apply", "check", "postfix reload"], ())

    @virtually
    async def test_a_paused_target_says_it_too(self):
        year = Year(SIX_DAYS)
        year.world.box.target = target(paused_by="certferry.pause=true")
        with capture_logs() as lines:
            for _ in range(3):
                await year.until(when(year.held.leaf, 0.02))
                await year.look()
        assert len(words(lines)) == 3
        assert [line["event"] for line in lines].count("target.watched") == 1
        assert f"{year.held.leaf.short} for {DOMAIN} expires in 3 hours" in year.world.status.condition.message

    @virtually
    async def test_so_does_one_whose_renewal_does_not_pass_its_check(self):
        year = Year(SIX_DAYS)
        old = year.held
        year.world.box.faults["check"] = [CheckFailed("the check refuses it")] * 100
        await year.until(when(old.leaf, 1 / 3))
        year.renew()
        year.held, new = old, year.held
        assert await parts_told(year, until=0.01, pause=HOUR / 4) == pytest.approx(STEPS, abs=0.002)
        assert year.world.reason == "CheckFailed"
        (said,) = year.world.status.endings
        assert said.endswith(
            f"and is to be replaced by traefik:le/{DOMAIN} {new.leaf.short} until {new.leaf.not_after:%Y-%m-%d},"
            " which is not installed yet"
        )


class TestASourceThatRenewsLate:
    async def renewing_at(self, year: Year, *parts: float) -> list[Any]:
        """Renew when these parts of each life are left: the parts at which a word was said before each of them."""
        told = []
        for part in parts:
            told.append(await parts_told(year, until=part))
            year.renew()
            await year.look()
        return told

    @pytest.mark.parametrize("life", [64 * DAY, SIX_DAYS], ids=str)
    @virtually
    async def test_is_not_told_of_at_a_fifth_once_it_was_seen(self, life):
        first, *others = await self.renewing_at(Year(life), *[0.15] * 5)
        assert first == roughly(FIFTH)
        assert others == [[]] * 4

    @virtually
    async def test_is_told_of_a_little_later_than_it_was_seen_when_it_stops(self):
        year = Year(SIX_DAYS)
        await self.renewing_at(year, 0.15)
        assert await parts_told(year) == pytest.approx([0.12, TENTH, TWENTIETH, 0.0], abs=1e-3)

    @virtually
    async def test_one_that_failed_once_is_told_of_as_before(self):
        year = Year(SIX_DAYS)
        assert await self.renewing_at(year, 1 / 3, 0.02) == [[], roughly(*STEPS)]
        assert await parts_told(year) == roughly(*STEPS, 0.0)

    @virtually
    async def test_one_that_was_only_seen_to_fail_is_told_of_at_a_tenth(self):
        year = Year(SIX_DAYS)
        await self.renewing_at(year, 0.02)
        assert await parts_told(year) == roughly(TENTH, TWENTIETH, 0.0)

    @virtually
    async def test_one_that_leaves_less_than_a_tenth_each_time_has_its_way_after_three(self):
        told = await self.renewing_at(Year(SIX_DAYS), *[0.08] * 5)
        assert told == [roughly(FIFTH, TENTH), roughly(TENTH), roughly(TENTH), [], []]

    @virtually
    async def test_one_whose_program_is_known_is_told_of_by_that_from_the_first_time_on(self):
        assert await self.renewing_at(Year(64 * DAY, SCHEDULE), 9.5 / 64, 8.5 / 64) == [[], []]


@virtually
async def test_what_its_producer_replaced_early_is_delivered_as_any_other():
    year = Year(90 * DAY)
    await year.look()
    with capture_logs() as lines:
        await asyncio.sleep(DAY.total_seconds())
        year.renew()
        await year.look()
    assert (words(lines), year.world.done(), year.world.reason) == ([], ["apply", "check", "postfix reload"], "")
    assert await parts_told(year, until=0.01) == roughly(*STEPS)


@virtually
async def test_a_clock_that_jumps_ahead_tells_of_no_end():
    year = Year(90 * DAY)
    await year.look()
    ahead = now() + 89 * DAY
    year.world.reconciler._clocks.others = lambda: (Reading("Docker's", ahead),)  # type: ignore[method-assign]
    with capture_logs() as lines:
        await year.look()
    assert (words(lines), year.world.status.endings) == ([], ())
    assert "the clock says" in year.world.status.condition.message


@virtually
async def test_a_failed_attempt_is_repeated_more_often_where_the_life_is_short():
    """A day is a sixth of six days."""
    year = Year(SIX_DAYS, timing=TIMING)
    year.world.box.faults["check"] = [CheckFailed("the check refuses it")] * 100
    year.renew()
    moments: list[float] = []
    while len(moments) < 12:
        await year.look()
        if "check" in year.world.done():
            moments.append(clock())
        await asyncio.sleep(TIMING.resync)
    pauses = [round(later - before) for before, later in pairwise(moments)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == pauses[-2] == pytest.approx(SIX_DAYS.total_seconds() / 20, abs=2 * TIMING.resync)
