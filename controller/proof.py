"""Ask the ports of a target until they hand out what they should, or time is up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from controller.domain.certificate import KeyType, Leaf
from controller.domain.errors import ProbeUnavailable, VerifyFailed
from controller.domain.observed import Served
from controller.domain.target import ProbePort, Target
from controller.policies import port_problem
from controller.ports import Probe
from controller.together import together

HURRIED = "hurried"
"""The `Served.way` of a port that was not given the time to answer."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.25


@dataclass(frozen=True, slots=True)
class Question:
    """One handshake: which port, for which key type (``None``: whatever the server prefers), and the leaves that are right.

    `was_dead`: the port handed out nothing before, so that what is done now is not to blame when it still does not.
    """

    port: ProbePort
    key_type: KeyType | None
    expected: dict[str, Leaf]
    was_dead: bool = False


class PortsSilent(VerifyFailed):
    """Ports that answered before do not any more; all others are as they should be."""


def questions(
    ports: Iterable[ProbePort], chosen: Sequence[Leaf], expected: dict[str, Leaf], *, dead: Collection[ProbePort] = ()
) -> list[Question]:
    """One question a port; with two certificates of different types one for each type, since a handshake shows only one.

    The `dead` ones handed out nothing before, and may stay so.
    """
    types = {leaf.key_type for leaf in chosen}
    if len(types) < 2:
        return [Question(port, None, expected, port in dead) for port in ports]
    return [Question(port, leaf.key_type, {leaf.fingerprint: leaf}, port in dead) for port in ports for leaf in chosen]


class Prover:
    """Asks ports through a `Probe`; `clock` gives seconds."""

    def __init__(self, probe: Probe, clock: Callable[[], float]) -> None:
        self._probe = probe
        self._clock = clock

    async def ask(self, target: Target, ports: Iterable[ProbePort], *, seconds: float | None = None) -> tuple[Served, ...]:
        """What every port hands out now, all asked at once; what takes longer than `seconds` counts as silent."""
        return tuple(await together(self._ask_within(target, port, seconds) for port in ports))

    async def prove(self, target: Target, asked: Sequence[Question], *, seconds: float) -> tuple[Served, ...]:
        """Ask until every answer is right.

        Raises:
            PortsSilent: after `seconds` some do not answer, and the others are right.
            VerifyFailed: one is still wrong after `seconds`; naming each port and what it hands out.
        """
        deadline = self._clock() + seconds
        answers = await together(self._until_right(target, question, deadline) for question in asked)
        wrong = [
            (served, problem) for q, served in zip(asked, answers, strict=True) if (problem := _problem(served, q, target))
        ]
        if wrong:
            kind = PortsSilent if len(wrong) < len(asked) and all(served.silent for served, _ in wrong) else VerifyFailed
            raise kind(f"after {seconds:g} s: {'; '.join(dict.fromkeys(problem for _, problem in wrong))}")
        return tuple(answers)

    async def _until_right(self, target: Target, question: Question, deadline: float) -> Served:
        pause = _FIRST_PAUSE
        while True:
            served = await self._ask(target, question.port, question.key_type)
            if not _problem(served, question, target) or self._clock() + pause > deadline:
                return served
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _ask_within(self, target: Target, port: ProbePort, seconds: float | None) -> Served:
        try:
            async with asyncio.timeout(seconds):
                return await self._ask(target, port, None)
        except TimeoutError:
            return Served(port, None, HURRIED, f"no answer within {seconds:g} s", silent=True)

    async def _ask(self, target: Target, port: ProbePort, key_type: KeyType | None) -> Served:
        try:
            return await self._probe.served(target, port, key_type=key_type)
        except ProbeUnavailable as error:
            return Served(port, None, "none", str(error), unknown=True)


def _problem(served: Served, question: Question, target: Target) -> str:
    """After a reload a port that is closed or without TLS is a problem too: it was not so before, or the operator listed it."""
    if question.was_dead and served.leaf is None:
        return ""
    if served.refused or served.plain:
        return f"port {question.port}: {served.error}"
    return port_problem(served, question.expected, target)
