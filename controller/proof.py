"""Ask the ports of a target until they hand out what they should, or time is up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from controller.domain.certificate import KeyType
from controller.domain.errors import ProbeUnavailable
from controller.domain.observed import Ask, Expected, Served
from controller.domain.target import ProbePort, Target
from controller.policies import is_expected, port_problem
from controller.ports import Probe
from controller.together import together

HURRIED = "hurried"
"""The `Served.way` of a port that was not given the time to answer."""

REMEMBERED = "remembered"
"""The `Served.way` of a port that was not asked now: it was right since the container's start, and still listens."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0


@dataclass(frozen=True, slots=True)
class Question:
    """One handshake: which port, for which key type (``None``: whatever the server prefers), and what is right.

    `was_dead`: the port handed out nothing before, so that what is done now is not to blame when it still does not.
    """

    port: ProbePort
    key_type: KeyType | None
    expected: tuple[Expected, ...]
    was_dead: bool = False


def questions(
    ports: Iterable[ProbePort],
    key_types: Sequence[KeyType | None],
    expected: Sequence[Expected],
    *,
    dead: Collection[ProbePort] = (),
) -> list[Question]:
    """One question for each port and key type; the `dead` ports handed out nothing before, and may stay so."""
    right = {kind: tuple(each for each in expected if kind in (None, each.leaf.key_type)) for kind in key_types}
    return [Question(port, kind, right[kind], port in dead) for port in ports for kind in key_types]


@dataclass(frozen=True, slots=True)
class Verified:
    """What each question was answered with, and what is wrong with it, if anything."""

    answers: tuple[tuple[Question, Served, str], ...] = ()

    @property
    def served(self) -> tuple[Served, ...]:
        return tuple(served for _, served, _ in self.answers)

    @property
    def wrong(self) -> tuple[Served, ...]:
        """What speaks against a pair. A right leaf does not, whatever is missing behind it: see `incomplete`."""
        return tuple(s for question, s, problem in self.answers if problem and not is_expected(s, question.expected))

    @property
    def incomplete(self) -> bool:
        """Nothing is wrong but that intermediates are missing behind right leaves."""
        return bool(self.problems) and not self.wrong

    @property
    def quiet(self) -> bool:
        """Nothing is wrong but ports that are closed, or do not answer: a service that starts again looks like that."""
        return bool(self.wrong) and all(served.silent or served.refused for served in self.wrong)

    @property
    def problems(self) -> str:
        """What is wrong, each once."""
        return "; ".join(dict.fromkeys(problem for _, _, problem in self.answers if problem))


class Prover:
    """Asks ports through a `Probe`; `clock` gives seconds."""

    def __init__(self, probe: Probe, clock: Callable[[], float]) -> None:
        self._probe = probe
        self._clock = clock

    async def ask(self, target: Target, asks: Iterable[Ask], *, seconds: float | None = None) -> tuple[Served, ...]:
        """What every port hands out now, all asked at once; what takes longer than `seconds` counts as silent."""
        return tuple(await together(self._ask_within(target, ask, seconds) for ask in asks))

    async def verify(self, target: Target, asked: Sequence[Question], *, seconds: float) -> Verified:
        """Ask until every answer is right, or `seconds` have passed."""
        deadline = self._clock() + seconds
        return Verified(tuple(await together(self._until_right(target, question, deadline) for question in asked)))

    async def verify_again(self, target: Target, before: Verified, moments: Sequence[float]) -> Verified:
        """Ask what was wrong again, at some `moments` (seconds from now), until it is right; the others stay as they are."""
        began = self._clock()
        for moment in moments:
            await asyncio.sleep(max(moment - (self._clock() - began), 0.0))
            before = Verified(tuple(await together(self._once_more(target, *answer) for answer in before.answers)))
            if not before.wrong:
                break
        return before

    async def _once_more(self, target: Target, question: Question, served: Served, problem: str) -> _Answer:
        return await self._answer(target, question) if problem else (question, served, problem)

    async def _until_right(self, target: Target, question: Question, deadline: float) -> _Answer:
        pause = _FIRST_PAUSE
        while True:
            answer = await self._answer(target, question)
            if not answer[2] or self._clock() + pause > deadline:
                return answer
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _answer(self, target: Target, question: Question) -> _Answer:
        served = await self._ask(target, Ask(question.port, question.key_type))
        return question, served, _problem(served, question, target)

    async def _ask_within(self, target: Target, ask: Ask, seconds: float | None) -> Served:
        try:
            async with asyncio.timeout(seconds):
                return await self._ask(target, ask)
        except TimeoutError:
            return Served(ask.port, None, HURRIED, f"no answer within {seconds:g} s", silent=True, key_type=ask.key_type)

    async def _ask(self, target: Target, ask: Ask) -> Served:
        try:
            served = await self._probe.served(target, ask.port, key_type=ask.key_type)
        except ProbeUnavailable as error:
            return Served(ask.port, None, "none", str(error), unknown=True, key_type=ask.key_type)
        return served if served.key_type is ask.key_type else replace(served, key_type=ask.key_type)


_Answer = tuple[Question, Served, str]


def _problem(served: Served, question: Question, target: Target) -> str:
    """After a reload a port that is closed or without TLS is a problem too: it was not so before, or the operator listed it."""
    if question.was_dead and served.leaf is None:
        return ""
    if served.refused or served.plain:
        return f"port {question.port}: {served.error}"
    return port_problem(served, question.expected, target)
