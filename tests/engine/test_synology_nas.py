"""The certificate archive of a Synology NAS, in which a renewed certificate may keep its folder or get another one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.certs import Pair
from tests.engine.producers import Served, split
from tests.lab import Lab
from tests.unit.sources.planted import Step, plant, rewrite

OLD, NEW = "aB3xYz", "k7Tz0P"
KINDS = {"": "ecdsa", "RSA-": "rsa", "ECC-": "ecdsa"}
WANTED = {"dsm6-7-plain": ("any", ("",)), "dsm7-rsa-ecc": ("rsa", ("ECC-", "RSA-"))}
"""The key that the mail server wants, and the sets of files, of which the last has it."""


def files(pair: Pair, prefix: str) -> dict[str, bytes]:
    """A set of files, in the order in which it is written."""
    leaf, rest = split(pair.chain)
    names = {"cert": leaf, "chain": rest, "fullchain": pair.chain, "privkey": pair.key}
    return {f"{prefix}{name}.pem": content for name, content in names.items()}


def fill(folder: Path, pairs: dict[str, Pair]) -> list[Step]:
    """All sets of files of a certificate, one file after the other."""
    return [
        step
        for prefix, pair in pairs.items()
        for name, content in files(pair, prefix).items()
        for step in rewrite(folder / name, content)
    ]


def move(archive: Path, pairs: dict[str, Pair]) -> Iterator[Step]:
    """A new folder, then ``INFO`` and ``DEFAULT`` that name it, then the old folder goes."""
    yield (archive / NEW).mkdir
    yield from fill(archive / NEW, pairs)
    for name in ("INFO", "DEFAULT"):
        yield from rewrite(archive / name, (archive / name).read_bytes().replace(OLD.encode(), NEW.encode()))
    for file in (archive / OLD).iterdir():
        yield file.unlink
    yield (archive / OLD).rmdir


@pytest.mark.parametrize(("version", "folder"), [("dsm6-7-plain", OLD), ("dsm6-7-plain", NEW), ("dsm7-rsa-ecc", NEW)])
def test_at_every_state_of_a_renewal_only_a_whole_pair_is_served(lab: Lab, version: str, folder: str) -> None:
    archive = plant(f"synology-reconstructed/{version}/1-before", lab.folder) / "_archive"
    key_type, prefixes = WANTED[version]
    before = {prefix: lab.issue(kind=KINDS[prefix], age=timedelta(days=60)) for prefix in prefixes}
    after = {prefix: lab.issue(kind=KINDS[prefix]) for prefix in prefixes}
    for step in fill(archive / OLD, before):
        step()
    served = Served.start(lab, "synology", archive, key_type=key_type)
    served.wait_for(before[prefixes[-1]])

    steps = fill(archive / OLD, after) if folder == OLD else move(archive, after)
    chain, key = (archive / folder / f"{prefixes[-1]}{name}.pem" for name in ("fullchain", "privkey"))
    served.play(steps, after[prefixes[-1]], chain, key)

    assert {path.name for path in archive.iterdir() if path.is_dir()} == {folder, "Qw7eRt", "Zx9cVb"}
    assert folder in json.loads((archive / "INFO").read_bytes())
    served.assert_no_harm()
