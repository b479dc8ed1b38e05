"""Promise 3: key and certificate change together, for whoever reads them at any moment."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import PurePosixPath

import pytest

from controller.domain.target import Place, Slot
from controller.engine import Engine
from sinks import act, script
from sinks.script import FileWrite
from tests.certs import Authority, Pair
from tests.engine.delivery import Delivery, litter
from tests.engine.readers import SECOND_LOOK, beside, read_always, time_renames
from tests.lab import Lab

SWAPS = 50
LIMIT = 110.0
"""Seconds for all swaps of a test, a fifth of one each on a quiet machine; only against hanging."""


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    authority = Authority()
    return [authority.issue("mail.example.test") for _ in range(2)]


def report(text: str) -> None:
    """Shown by ``pytest -rP``."""
    print(text)  # noqa: T201


async def swap(delivery: Delivery, pairs: Sequence[Pair], times: int, *, pause: float = 0) -> None:
    """Change the pair to and fro with the very scripts of the sink, all in one exec: an exec for each would take too long."""
    rounds = [await prepared(delivery, pair) for pair in pairs]
    stage = script.new_stage()
    turns = []
    for writes in rounds:
        files = [script.staged(write, stage) for write in writes]
        swap = act.script(act.Swap(moves=tuple(files)), act.Use(), boundary="-", seconds=LIMIT)
        turns.append(f"{script.read_contents(writes)}\n{{ {script.stage(files)}\n{swap}\n}} >/dev/null; sleep {pause}")
    turn = "\n".join(turns)
    loop = f"for round in $(seq {times // len(pairs)}); do\n{turn}\ndone"
    stdin = b"".join(script.stdin_of(writes) for writes in rounds) * (times // len(pairs))
    result = await delivery.engine.execute(str(delivery.container.id), ("sh", "-c", loop), stdin=stdin, user="0", timeout=LIMIT)
    assert (result.exit_code, result.tail) == (0, "no output")
    there = (await delivery.observe()).files
    assert {write.path: write.content for write in rounds[-1]} == {path: file and file.content for path, file in there.items()}


async def prepared(delivery: Delivery, pair: Pair) -> list[FileWrite]:
    observed = await delivery.observe()
    modes = {path: file.mode for path, file in observed.files.items() if file}
    return [
        FileWrite(path, content, modes[path], (0, 0)) for path, content in delivery.place.contents(pair.certificate).items()
    ]


async def test_a_reader_meets_no_missing_empty_or_torn_file_and_a_second_look_finds_a_pair(
    engine: Engine, lab: Lab, pairs: list[Pair]
) -> None:
    folder = lab.folder / "tls"
    folder.mkdir()
    container = lab.container(volumes={str(folder): {"bind": "/tls"}})
    delivery = Delivery(engine, container)
    await delivery.bring(pairs[1])
    known = [(pair.certificate.fullchain_pem, pair.certificate.key_pem) for pair in pairs]

    with beside(read_always, [folder / "cert.pem", folder / "key.pem"], known) as stop:
        await swap(delivery, pairs, 100, pause=SECOND_LOOK + 0.01)
        reading = stop()

    assert reading.faults == []
    assert reading.lasting <= 10, "of a hundred; on a busy machine a rename may be put off in the middle, on a calm one none is"
    assert reading.reads > 1000
    report(f"{reading.reads} reads, {reading.mismatches} mismatches, {reading.lasting} of them found by the second look, too")
    assert litter(container, "/", "/tls") == []


@pytest.mark.parametrize(
    ("key_folder", "share"), [pytest.param("certs", 0.1, id="beside"), pytest.param("private", 0.5, id="apart")]
)
async def test_the_renames_of_key_and_certificate_follow_each_other_at_once(
    engine: Engine, lab: Lab, pairs: list[Pair], key_folder: str, share: float
) -> None:
    container = lab.container(volumes={str(lab.folder): {"bind": "/tls"}})
    place = Place(Slot(), PurePosixPath("/tls/certs/cert.pem"), PurePosixPath("/tls", key_folder, "key.pem"))
    delivery = Delivery(engine, container, place)
    await delivery.bring(pairs[1])

    with beside(time_renames, [lab.folder / key_folder / "key.pem", lab.folder / "certs/cert.pem"]) as stop:
        begin = time.monotonic()
        await swap(delivery, pairs, SWAPS)
        each = (time.monotonic() - begin) / SWAPS * 1e6
        windows = stop()

    assert len(windows) > 20
    median = statistics.median(windows)
    told = f"median {median:.0f} µs between the renames, longest {max(windows):.0f} µs; a whole swap took {each:.0f} µs"
    report(f"{len(windows)} swaps, key {key_folder}: {told}")
    assert median < share * each
