"""What it costs to read a store of thousands of certificates, in processor time: all of them at first, and one that changed."""

from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from controller.x509.roots import use_extra_roots
from sources.pairs import Reading, read_pairs
from sources.traefik_store import read_store
from tests.bench.measure import Measure, notes
from tests.certs import Authority, Pair, new_key

SIZES = (500, 1000, 2000, 4000)
CHANGED = 2000
LIMIT = 0.05
"""Seconds for one of `CHANGED` that changed."""


def run(rounds: int) -> list[Measure]:
    """Reading ``acme.json`` as the source does, in this process; its certificates are trusted, as those of a public CA."""
    authority = Authority()
    keys = [new_key() for _ in range(8)]
    notes.print(f"entries: issuing {max(SIZES)} certificates")
    issued = [authority.issue(f"host{number}.example.test", key=keys[number % 8]) for number in range(max(SIZES))]
    with TemporaryDirectory() as folder:
        root = Path(folder) / "root.pem"
        root.write_bytes(authority.root_pem)
        use_extra_roots(root)
        colds = {size: _cold(_store(issued[:size])) for size in SIZES}
    renewed = [authority.issue("host7.example.test"), *issued[1:CHANGED]]
    warm = median(_warm(_store(issued[:CHANGED]), _store(renewed)) for _ in range(rounds))
    each = {size: seconds / size * 1000 for size, seconds in colds.items()}
    return [
        *(
            Measure(f"{size} certificates, read for the first time", colds[size], "s", note=f"{each[size]:.2f} ms each")
            for size in SIZES
        ),
        Measure("dearest by cheapest, each", max(each.values()) / min(each.values()), limit=1.5, note="linear is 1"),
        Measure(f"one of {CHANGED} changed", warm, "s", limit=LIMIT, note=f"median of {rounds}"),
    ]


def _store(issued: list[Pair]) -> bytes:
    """As Traefik writes it; `acme_json` would parse each of them."""
    entries = [
        {"domain": {"main": f"host{number}"}, "certificate": _text(pair.chain), "key": _text(pair.key), "Store": "default"}
        for number, pair in enumerate(issued)
    ]
    return json.dumps({"le": {"Account": None, "Certificates": entries}}, indent=2).encode()


def _text(pem: bytes) -> str:
    return base64.b64encode(pem).decode()


def _read(store: bytes, before: Reading | None = None) -> Reading:
    contents = read_store(store, where="acme.json")
    return read_pairs(contents, before.known if before else {}, moment=datetime.now(UTC), remedy="")


def _cold(store: bytes) -> float:
    begin = time.process_time()
    _read(store)
    return time.process_time() - begin


def _warm(store: bytes, renewed: bytes) -> float:
    before = _read(store)
    begin = time.process_time()
    _read(renewed, before)
    return time.process_time() - begin
