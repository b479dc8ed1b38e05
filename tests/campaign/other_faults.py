"""What goes wrong with the engine, the proxy's store and certferry itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

from tests.campaign.api_proxy import JUNK, NO_BACKEND, Rule
from tests.campaign.fleet import Box
from tests.campaign.scene import Apply, Fault, Scene

CREATE, START, RESULT = r"^POST .*/containers/\w+/exec$", r"^POST .*/exec/\w+/start", r"^GET .*/exec/\w+/json"
EVENTS, ARCHIVE, INSPECT = r"^GET .*/events", r"/containers/\w+/archive", r"^GET .*/containers/\w+/json"
IN_THE_ACT = (0.2, 2.0)
"""Seconds after a renewal in which certferry is at work."""


def _calls(make: Callable[[Random], Rule]) -> Apply:
    """A rule of the API proxy, and a renewal, so that there is work that can meet it."""

    @contextmanager
    def apply(scene: Scene, box: Box, dice: Random) -> Iterator[None]:
        with scene.proxy.rule(make(dice)):
            scene.store.renew([box.kind.host])
            yield

    return apply


@contextmanager
def _no_events(scene: Scene, _box: Box, _dice: Random) -> Iterator[None]:
    with scene.proxy.rule(Rule(EVENTS, fails=True)):
        scene.proxy.cut_calls(EVENTS)
        yield


@contextmanager
def _torn_events(scene: Scene, _box: Box, dice: Random) -> Iterator[None]:
    """The stream ends in the middle of an event, again and again."""
    with scene.proxy.rule(Rule(EVENTS, cut_after=dice.choice((0, 100, 300, 700)))):
        scene.proxy.cut_calls(EVENTS)
        yield


@contextmanager
def _dead(scene: Scene, _box: Box, _dice: Random) -> Iterator[None]:
    scene.proxy.cut()
    try:
        yield
    finally:
        scene.proxy.mend()


@contextmanager
def _frozen(scene: Scene, _box: Box, _dice: Random) -> Iterator[None]:
    with scene.proxy.frozen():
        yield


def _cut(calls: str, *, in_the_act: bool = False) -> Apply:
    @contextmanager
    def apply(scene: Scene, box: Box, dice: Random) -> Iterator[None]:
        if in_the_act:
            scene.store.renew([box.kind.host])
            time.sleep(dice.uniform(*IN_THE_ACT))
        scene.proxy.cut_calls(calls)
        yield

    return apply


@contextmanager
def _dead_in_the_act(scene: Scene, box: Box, dice: Random) -> Iterator[None]:
    scene.store.renew([box.kind.host])
    time.sleep(dice.uniform(*IN_THE_ACT))
    with _dead(scene, box, dice):
        yield


def _spoiled(spoil: Callable[[bytes], bytes | None]) -> Apply:
    @contextmanager
    def apply(scene: Scene, _box: Box, _dice: Random) -> Iterator[None]:
        with scene.store.spoiled(spoil):
            yield

    return apply


@contextmanager
def _strangers(scene: Scene, _box: Box, _dice: Random) -> Iterator[None]:
    with scene.store.spoiled(scene.store.stranger):
        yield


@contextmanager
def _restored(scene: Scene, _box: Box, _dice: Random) -> Iterator[None]:
    with scene.store.spoiled(scene.store.backup):
        yield


@contextmanager
def _renamed(scene: Scene, box: Box, dice: Random) -> Iterator[None]:
    """As most programs replace a file; the watch of the old one is worth nothing after that."""
    with scene.store.renaming():
        for _ in range(3):
            scene.store.renew([box.kind.host])
            time.sleep(dice.uniform(0.0, 1.0))
        yield


@contextmanager
def _many_renewals(scene: Scene, box: Box, dice: Random) -> Iterator[None]:
    for _ in range(5):
        scene.store.renew([box.kind.host])
        time.sleep(dice.uniform(0.0, 0.6))
    yield


def _ferry(act: str, *, in_the_act: bool) -> Apply:
    @contextmanager
    def apply(scene: Scene, box: Box, dice: Random) -> Iterator[None]:
        if in_the_act:
            scene.store.renew([box.kind.host])
            time.sleep(dice.uniform(*IN_THE_ACT))
        getattr(scene.ferry, act)()
        yield

    return apply


@contextmanager
def _another_ferry(scene: Scene, box: Box, dice: Random) -> Iterator[None]:
    scene.store.renew([box.kind.host])
    time.sleep(dice.uniform(0.0, IN_THE_ACT[1]))
    scene.ferry.once()
    yield


@contextmanager
def _ferry_frozen(scene: Scene, box: Box, dice: Random) -> Iterator[None]:
    scene.store.renew([box.kind.host])
    time.sleep(dice.uniform(*IN_THE_ACT))
    with scene.ferry.frozen():
        yield


ENGINE_FAULTS = (
    Fault("exec cannot be created", "engine", _calls(lambda _: Rule(CREATE, fails=True))),
    Fault("exec cannot be started", "engine", _calls(lambda _: Rule(START, fails=True))),
    Fault("every second exec fails", "engine", _calls(lambda _: Rule(START, fails=True, every=2))),
    Fault("exec hangs", "engine", _calls(lambda _: Rule(START, holds=True)), (1.0, 8.0)),
    Fault("exec is cut", "engine", _calls(lambda dice: Rule(START, cut_after=dice.choice((0, 150, 300, 1000, 3000))))),
    Fault("every second exec is cut", "engine", _calls(lambda d: Rule(START, cut_after=d.choice((0, 200, 1500)), every=2))),
    Fault("how an exec ended is not told", "engine", _calls(lambda _: Rule(RESULT, fails=True))),
    Fault("inspect fails", "engine", _calls(lambda _: Rule(INSPECT, fails=True))),
    Fault("archive fails", "engine", _calls(lambda _: Rule(ARCHIVE, fails=True))),
    Fault("every third call fails", "engine", _calls(lambda _: Rule("", fails=True, every=3))),
    Fault("every call fails", "engine", _calls(lambda _: Rule("", fails=True))),
    Fault("every answer is cut", "engine", _calls(lambda dice: Rule("", cut_after=dice.choice((0, 40, 200, 700, 3000))))),
    Fault("every third answer is cut", "engine", _calls(lambda d: Rule("", cut_after=d.choice((0, 100, 700, 3000)), every=3))),
    Fault("a socket proxy without engine", "engine", _calls(lambda _: Rule("", fails=True, answer=NO_BACKEND))),
    Fault("every third answer is junk", "engine", _calls(lambda _: Rule("", fails=True, answer=JUNK, every=3))),
    Fault("every answer is junk", "engine", _calls(lambda _: Rule("", fails=True, answer=JUNK))),
    Fault("engine slow", "engine", _calls(lambda dice: Rule("", delay=dice.uniform(0.1, 1.5))), (2.0, 8.0)),
    Fault("engine frozen", "engine", _frozen),
    Fault("engine dead", "engine", _dead),
    Fault("engine dead in the act", "engine", _dead_in_the_act),
    Fault("all connections cut", "engine", _cut(""), (0.0, 0.0)),
    Fault("all connections cut in the act", "engine", _cut("", in_the_act=True), (0.0, 0.0)),
    Fault("events cut", "engine", _cut(EVENTS), (0.0, 0.0)),
    Fault("events cut and refused", "engine", _no_events),
    Fault("events torn", "engine", _torn_events),
)
STORE_FAULTS = (
    Fault("acme.json gone", "store", _spoiled(lambda _: None)),
    Fault("acme.json empty", "store", _spoiled(lambda _: b"")),
    Fault("acme.json half", "store", _spoiled(lambda content: content[: len(content) // 2])),
    Fault("acme.json junk", "store", _spoiled(lambda content: content.translate(bytes(reversed(range(256)))))),
    Fault("acme.json holds another host only", "store", _strangers),
    Fault("acme.json restored from a backup", "store", _restored),
    Fault("acme.json renamed into place", "store", _renamed),
    Fault("five renewals in a row", "store", _many_renewals, (0.0, 0.0)),
)
FERRY_FAULTS = (
    Fault("certferry frozen", "ferry", _ferry_frozen, (1.0, 8.0)),
    Fault("certferry ended", "ferry", _ferry("terminate", in_the_act=False), (0.0, 0.0)),
    Fault("certferry ended in the act", "ferry", _ferry("terminate", in_the_act=True), (0.0, 0.0)),
    Fault("certferry killed", "ferry", _ferry("kill", in_the_act=False), (0.0, 0.0)),
    Fault("certferry killed in the act", "ferry", _ferry("kill", in_the_act=True), (0.0, 0.0)),
    Fault("certferry once beside it", "ferry", _another_ferry, (0.0, 0.0)),
)
