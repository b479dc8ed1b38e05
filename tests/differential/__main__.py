"""``python -m tests.differential [WORLDS] [SEED]``: this system's roots, and random worlds of authorities, beside OpenSSL."""

from __future__ import annotations

import os
import secrets
import ssl
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

from tests.differential import explained
from tests.differential.compare import compare
from tests.differential.properties import Difference
from tests.differential.roots import clones, system_bundle
from tests.differential.roots_compared import RootDifference, compare_roots

WORLDS = 10_000
PART = 250
"""Worlds that are compared at a time, so that a difference is told soon."""


def main(arguments: Sequence[str]) -> None:
    worlds = int(arguments[0]) if arguments else WORLDS
    first = int(arguments[1]) if len(arguments) > 1 else secrets.randbelow(10**9)
    _compare_roots()
    began = time.perf_counter()
    print(f"{worlds} random worlds beside {ssl.OPENSSL_VERSION}, from seed {first} on", flush=True)
    met = Counter[str]()
    try:
        for part in _compared(worlds, first):
            met.update(part)
            print(f"{met['worlds']:8}", end="\r", flush=True)
    except Difference as difference:
        sys.exit("\n".join((str(difference), *difference.__notes__, f"again: make differential WORLDS={worlds} FIRST={first}")))
    _print(met)
    print(f"no difference that is not explained; {time.perf_counter() - began:.0f} s")


def _compared(worlds: int, first: int) -> Iterator[Counter[str]]:
    parts = [min(PART, worlds - done) for done in range(0, worlds, PART)]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(compare, parts, range(first, first + len(parts)))


def _compare_roots() -> None:
    try:
        told = compare_roots()
    except RootDifference as difference:
        sys.exit(str(difference))
    print(f"{len(clones())} roots in {system_bundle()}: {told}", flush=True)


def _print(met: Counter[str]) -> None:
    rows = {f"explained: {row.name}": row for row in explained.ROWS}
    for name, count in met.most_common():
        row = rows.get(name)
        print(f"{count:8}  {name}" + (f" ({row.client}: {row.why})" if row else ""))


if __name__ == "__main__":
    main(sys.argv[1:])
