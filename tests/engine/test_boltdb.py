"""BoltDB files, written by the real library as Traefik v1 uses it, and read meanwhile."""

from __future__ import annotations

import logging
import struct
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from docker.models.containers import Container

from controller.domain.errors import SourceMalformed, SourceUnavailable
from sources.files import MIB, read_file
from sources.local import LocalStorage
from sources.stored import StoredSource
from sources.traefik_kv.bolt_pages import find_value
from sources.traefik_kv.boltdb import BOLTDB
from tests.certs import Pair
from tests.engine.producers import PATIENCE, Served
from tests.lab import Lab, put_files, wait_until
from tests.unit.sources.bolt_files import KEY, account, store

log = logging.getLogger(__name__)

IMAGE = "certferry-test/bolt:latest"
READINGS = 3000
LEAST_WRITTEN = 100
"""Transactions that the writer must have had meanwhile; there are tens of thousands when nothing else is going on."""


class Writer:
    """A BoltDB file in a folder of the host, and the program that writes it."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.folder = lab.folder / "bolt"
        self.folder.mkdir()
        self.path = self.folder / "traefik.db"

    def put(self, pair: Pair) -> None:
        """One change, from opening the file to closing it."""
        container = self._start("put", [pair])
        assert container.wait(timeout=PATIENCE)["StatusCode"] == 0, container.logs()

    def write_always(self, *accounts: Sequence[Pair]) -> Container:
        """One change after the other without a pause: other keys hold the first account, the key all others in turn."""
        container = self._start("loop", *accounts)
        wait_until(lambda: self.path.exists() and self.transactions() > 100, seconds=PATIENCE, what="the file is written")
        return container

    def transactions(self) -> int:
        """How many there have been, by the counter before the value."""
        value = find_value(read_file(self.path, limit=64 * MIB, locked=True), b"traefik", KEY, where="it")
        return int(struct.unpack_from("<Q", value)[0]) if value else 0

    def _start(self, command: str, *accounts: Sequence[Pair]) -> Container:
        for number, pairs in enumerate(accounts):
            (self.folder / f"{number}").write_bytes(account(*pairs))
        files = [f"/store/{number}" for number in range(len(accounts))]
        argv = [command, f"/store/{self.path.name}", "traefik", KEY.decode(), *files]
        mounts = {str(self.folder): {"bind": "/store", "mode": "rw"}}
        container = self._lab.docker.containers.create(IMAGE, argv, labels=self._lab.labels(), volumes=mounts)
        container.start()
        return container


@pytest.mark.parametrize("is_locked", [True, False], ids=["with its lock", "where no lock is known"])
async def test_while_it_is_written_without_a_pause_only_what_was_written_is_read(lab: Lab, is_locked: bool) -> None:
    wrong = [lab.issue()]
    accounts = [[lab.issue(f"{number}.example.test") for number in range(size)] for size in (4, 9)]
    right = {frozenset(pair.certificate.fingerprint for pair in pairs) for pairs in accounts}
    writer = Writer(lab)
    container = writer.write_always(wrong, *accounts)
    layout = replace(BOLTDB, locked=is_locked)
    source = StoredSource("it", layout, LocalStorage(writer.path, layout, layout.options()))

    read: Counter[frozenset[str]] = Counter()
    errors: Counter[str] = Counter()
    before, begin = writer.transactions(), time.monotonic()
    for _ in range(READINGS):
        try:
            snapshot = await source.load()
        except (SourceUnavailable, SourceMalformed) as error:
            errors[str(error).removeprefix(str(writer.path))] += 1
        else:
            assert snapshot.problems == ()
            read[frozenset(entry.certificate.fingerprint for entry in snapshot.entries)] += 1
    seconds, written = time.monotonic() - begin, writer.transactions() - before
    log.info("%.1f s, %d transactions, read %s, errors %s", seconds, written, sorted(read.values()), dict(errors))

    assert read.keys() == right
    assert written > LEAST_WRITTEN
    if is_locked:
        assert not errors
    container.reload()
    assert container.status == "running"


def test_what_is_changed_in_the_file_is_served_by_the_mail_servers(lab: Lab) -> None:
    writer = Writer(lab)
    served = Served.start(lab, "boltdb", Path(f"{writer.path}/traefik/acme/account"))
    served.wait_missing()
    for pair in (lab.issue(), lab.issue()):
        writer.put(pair)
        served.wait_for(pair)
    served.assert_no_harm()


def test_a_file_inside_another_container_is_read(lab: Lab) -> None:
    pair = lab.issue()
    made = lab.container(start=False)
    put_files(made, {"/data/traefik.db": store(account(pair))})
    url = f"docker://{made.name}/data/traefik.db?kind=boltdb&key=traefik/acme/account&name=old"
    done = lab.command("sources", sources=url)
    assert (done.returncode, done.stderr) == (0, "")
    assert "old  up" in done.stdout
    assert pair.certificate.leaf.short in done.stdout
