"""What stores of files cost: a large folder of which one pair is renewed, and proxies whose stores are read through Docker."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from statistics import median

from controller.ports import Source
from sources.local import LocalStorage
from sources.registry import create
from sources.stored import StoredSource
from sources.surroundings import Surroundings
from tests.bench.load import moment_of, processor_seconds
from tests.bench.measure import Measure, laboratory, notes
from tests.certs import Pair, acme_json, new_key
from tests.lab import DOMAIN, PLAIN_IMAGE, Lab, put_files

PAIRS = 2000
ROUNDS = 5
PROXIES = 5
POLLED_SECONDS = 60.0


def folder(_rounds: int) -> list[Measure]:
    """A folder of thousands of pairs, of which one is renewed."""
    with laboratory() as lab:
        store = lab.folder / "certs"
        store.mkdir()
        notes.print(f"folder: issuing {PAIRS} pairs")
        keys = [new_key() for _ in range(8)]
        for number in range(PAIRS - 1):
            _put(store, f"host{number}.example.test", lab.issue(f"host{number}.example.test", key=keys[number % 8]))
        _put(store, DOMAIN, lab.issue())
        time.sleep(2.5)  # files that were just written are read twice, for the sake of coarse time stamps
        reads, load = asyncio.run(_reads_of_a_renewal(lab, store))
        decided, installed = _until_pushed(lab, store)
    return [
        Measure(
            f"{PAIRS} pairs, one renewed: written → the push begins",
            median(decided) * 1000,
            "ms",
            limit=300,
            note=f"median of {ROUNDS}, the slowest {max(decided) * 1000:.0f} ms; CERTFERRY_BATCH_WINDOW=0s",
        ),
        Measure("the same until it is installed", median(installed) * 1000, "ms"),
        Measure("files read again for it", reads, limit=2, note=f"of {2 * PAIRS}"),
        Measure("of that, the reading of the folder", load * 1000, "ms"),
    ]


async def _reads_of_a_renewal(lab: Lab, store: Path) -> tuple[int, float]:
    """How many files are read again once one pair of a folder is renewed, and how many seconds that takes."""
    source = create(f"pem://{store}", Surroundings())
    storage = _storage_of(source)
    await source.load()
    _put(store, DOMAIN, lab.issue())
    before, begin = storage.cache.reads, time.monotonic()
    await source.load()
    return storage.cache.reads - before, time.monotonic() - begin


def _storage_of(source: Source) -> LocalStorage:
    assert isinstance(source, StoredSource)
    assert isinstance(source.storage, LocalStorage)
    return source.storage


def _until_pushed(lab: Lab, store: Path) -> tuple[list[float], list[float]]:
    """For each of some renewals the seconds until it was decided to push, and until the files were in place."""
    mail = lab.container(
        PLAIN_IMAGE, labels={"reload": "true", "probe": "off", "cert_path": "/tls/c.pem", "key_path": "/tls/k.pem"}
    )
    certferry = lab.controller(sources=f"pem://{store}", batch_window="0s")
    certferry.wait_ready(str(mail.name), seconds=120)
    decided: list[float] = []
    installed: list[float] = []
    for turn in range(ROUNDS):
        notes.print(f"folder: renewing one pair ({turn + 1} of {ROUNDS})")
        renewed, seen = lab.issue(), len(certferry.log)
        _put(store, DOMAIN, renewed)
        begin = time.time()
        for event, found in (("target.differs", decided), ("target.installed", installed)):
            found.append(moment_of(certferry.wait_for(event, after=seen)["timestamp"]) - begin)
        certferry.wait_ready(str(mail.name), renewed)
        time.sleep(2.5)  # as above
    return decided, installed


def _put(store: Path, name: str, pair: Pair) -> None:
    (store / f"{name}.key").write_bytes(pair.key)
    (store / f"{name}.crt").write_bytes(pair.chain)


def polling(_rounds: int) -> list[Measure]:
    """Processor time for looking at the stores of several proxies through Docker, none of which changes."""
    with laboratory() as lab:
        proxies = [lab.container(PLAIN_IMAGE, labels={"domain": f"proxy{n}.example.test"}) for n in range(PROXIES)]
        for proxy in proxies:
            put_files(proxy, {"/acme.json": acme_json(*(lab.issue(f"{n}.example.test") for n in range(20)))})
        urls = " ".join(f"docker://{proxy.name}/acme.json" for proxy in proxies)
        certferry = lab.controller(sources=urls)
        for number in range(PROXIES):
            certferry.wait_for("source.loaded", source="docker" if not number else f"docker-{number + 1}")
        time.sleep(5)
        notes.print(f"polling: looking at {PROXIES} proxies for {POLLED_SECONDS:g} s")
        before = processor_seconds(certferry)
        time.sleep(POLLED_SECONDS)
        share = (processor_seconds(certferry) - before) / POLLED_SECONDS * 100
    return [
        Measure(
            f"polling {PROXIES} proxies through Docker", share, "% of a core", limit=1, note="every 10 s; all of certferry"
        ),
    ]
