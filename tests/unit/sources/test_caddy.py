"""Caddy's storage, as 2.6.2 wrote it, as 2.9 does, and that of v1."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from controller.domain.certificate import Trust
from controller.domain.errors import SourceUnavailable
from controller.selection import select
from sources.caddy import CADDY
from tests.certs import Authority, Pair
from tests.unit.made import target
from tests.unit.sources.planted import Reader, Step, plant, play, replace, rewrite
from tests.unit.sources.recorded import labels_and_names

NAME = "mail.example.test"
ISSUER = "localhost-14200-dir"
ORDERED = "Caddy is ordering it, or its last order failed: see its log"
V1 = "acme/acme-v02.api.letsencrypt.org/sites"


async def test_every_issuer_is_read(tmp_path):
    found = await Reader(CADDY, plant("caddy-2.6.2/data", tmp_path)).load()
    assert labels_and_names(found.entries) == [
        ("local/internal.example.test", ("internal.example.test",)),
        ("local/*.wild.example.test", ("*.wild.example.test",)),
        ("localhost-14000-dir/imap.example.test", ("imap.example.test",)),
        ("localhost-14000-dir/mail.example.test", (NAME,)),
    ]
    assert found.problems == ()


async def test_the_own_authority_counts_as_a_private_one(tmp_path):
    found = await Reader(CADDY, plant("caddy-2.6.2/data", tmp_path)).load()
    assert [e.certificate.trust for e in found.entries if e.label.startswith("local/")] == [Trust.PRIVATE] * 2


async def test_the_layout_of_v1_is_read(tmp_path):
    found = await Reader(CADDY, plant("caddy-v1-reconstructed", tmp_path)).load()
    assert labels_and_names(found.entries) == [
        ("acme-v02.api.letsencrypt.org/imap.example.test", ("imap.example.test",)),
        ("acme-v02.api.letsencrypt.org/mail.example.test", (NAME,)),
    ]


def put(folder: Path, name: str, pair: Pair) -> None:
    folder.mkdir(parents=True)
    (folder / f"{name}.key").write_bytes(pair.key)
    (folder / f"{name}.crt").write_bytes(pair.chain)
    (folder / f"{name}.json").write_text("{}")


@pytest.mark.parametrize("how", [rewrite, replace], ids=["in place, up to 2.8", "renamed, from 2.9"])
async def test_at_no_step_of_a_renewal_is_anything_but_the_old_or_the_new_pair_read(tmp_path, how):
    """With the key of before, as 2.6.2 does: recorded."""
    recorded = plant("caddy-2.6.2/renewal", tmp_path)
    root = tmp_path / "caddy"
    root.mkdir()
    (recorded / "before").rename(root / "certificates")
    folder, new = root / "certificates" / ISSUER / NAME, recorded / "after" / ISSUER / NAME
    steps: list[Step] = []
    for ending in ("key", "crt", "json"):
        steps += how(folder / f"{NAME}.{ending}", (new / f"{NAME}.{ending}").read_bytes())
    old, renewed = await play(Reader(CADDY, root), steps, label=f"{ISSUER}/{NAME}")
    assert old != renewed


@pytest.mark.parametrize("how", [rewrite, replace], ids=["in place", "renamed"])
@pytest.mark.parametrize(
    ("sites", "order"), [("certificates/acme", ("key", "crt", "json")), (V1, ("crt", "key", "json"))], ids=["v2", "v1"]
)
async def test_nor_with_another_key(tmp_path, how, sites, order):
    authority = Authority()
    old, new = authority.issue(NAME), authority.issue(NAME)
    folder = tmp_path / sites / NAME
    put(folder, NAME, old)
    steps: list[Step] = []
    contents = {"key": new.key, "crt": new.chain, "json": b"{}"}
    for ending in order:
        steps += how(folder / f"{NAME}.{ending}", contents[ending])
    issuer = sites.split("/")[1]
    seen = await play(Reader(CADDY, tmp_path), steps, label=f"{issuer}/{NAME}")
    assert seen == (old.certificate.fingerprint, new.certificate.fingerprint)


async def test_a_name_of_several_issuers_is_held_by_each(tmp_path):
    authority = Authority()
    pairs = {issuer: authority.issue(NAME) for issuer in ("acme-v02.api.letsencrypt.org-directory", "zerossl", "local")}
    for issuer, pair in pairs.items():
        put(tmp_path / "certificates" / issuer / NAME, NAME, pair)
    assert await Reader(CADDY, tmp_path).leaves() == {
        f"{issuer}/{NAME}": pair.certificate.fingerprint for issuer, pair in pairs.items()
    }


async def test_of_several_the_newest_is_chosen_as_caddy_does(tmp_path):
    authority = Authority()
    for hours, issuer in ((2, "a"), (1, "b"), (3, "c")):
        put(tmp_path / "certificates" / issuer / NAME, NAME, authority.issue(NAME, age=timedelta(hours=hours)))
    found = await Reader(CADDY, tmp_path).load()
    ((_, winner),) = select(target(NAME), {"it": found}, datetime.now(UTC)).chosen
    assert winner.label == f"b/{NAME}"


async def test_a_folder_that_may_not_be_read_is_told_and_costs_the_others_nothing(open_directory, unprivileged):
    root = plant("caddy-2.6.2/data", open_directory)
    folder = root / "certificates" / "local" / "internal.example.test"
    folder.chmod(0)
    with unprivileged():
        found = await Reader(CADDY, root).load()
    folder.chmod(0o755)
    ((label, message),) = ((problem.label, problem.message) for problem in found.problems)
    assert label == "local/internal.example.test"
    assert message.startswith(f"the directory {folder} may not be read; run certferry as root")
    assert len(found.entries) == 3


async def test_what_a_crash_left_beside_is_passed_over(tmp_path):
    put(tmp_path / "certificates" / "local" / NAME, NAME, Authority().issue(NAME))
    (tmp_path / "certificates" / "local" / NAME / "3145289650").write_bytes(b"half")
    assert list(await Reader(CADDY, tmp_path).leaves()) == [f"local/{NAME}"]


async def test_files_in_a_brand_new_folder_are_seen_although_no_watch_stood_on_it(tmp_path):
    """Caddy makes the folder and its files at once: their events are lost, and yet a hint must come after the last of them."""
    reader = Reader(CADDY, tmp_path)
    (tmp_path / "certificates").mkdir()
    async with reader.source.subscribe() as hints:
        assert await reader.leaves() == {}
        pair = Authority().issue(NAME)
        put(tmp_path / "certificates" / ISSUER / NAME, NAME, pair)
        async with asyncio.timeout(30):
            async for _ in hints:
                if await reader.leaves():
                    break
        assert await reader.leaves() == {f"{ISSUER}/{NAME}": pair.certificate.fingerprint}
        newer = Authority().issue(NAME)
        folder = tmp_path / "certificates" / ISSUER / NAME
        for file, content in ((f"{NAME}.key", newer.key), (f"{NAME}.crt", newer.chain)):
            (folder / file).write_bytes(content)
        async with asyncio.timeout(30):
            async for _ in hints:
                if (await reader.leaves())[f"{ISSUER}/{NAME}"] == newer.certificate.fingerprint:
                    break


async def test_half_a_pair_and_the_rest_of_the_storage(tmp_path):
    root = plant("caddy-2.6.2/data", tmp_path)
    (root / "certificates" / "localhost-14000-dir" / NAME / f"{NAME}.crt").unlink()
    (root / "certificates" / "localhost-14000-dir" / "new.example.test").mkdir()
    (root / "certificates" / "stray").touch()
    reader = Reader(CADDY, root)
    file = f"certificates/localhost-14000-dir/{NAME}/{NAME}.crt"
    assert await reader.problems() == {f"localhost-14000-dir/{NAME}": f"SourceMalformed: {file} is missing; {ORDERED}"}
    assert len((await reader.load()).entries) == 3


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("data", "is a folder above Caddy's; name {path}/caddy"),
        ("home", "is a folder above Caddy's; name {path}/.local/share/caddy"),
        ("old", "is a folder above Caddy's; name {path}/.caddy"),
        ("data/caddy/certificates", "is a part of Caddy's folder; name the one above it, {parent}"),
        ("data/caddy/pki", "is no storage of Caddy: it holds neither certificates nor acme; name the folder that does"),
        ("none", "does not exist; mount it into certferry's container, or correct the path"),
    ],
)
async def test_a_path_to_something_else_is_told_with_the_right_one(tmp_path, path, hint):
    for name, folder in (
        ("caddy-2.6.2/data", "data/caddy"),
        ("caddy-2.6.2/data", "home/.local/share/caddy"),
        ("caddy-v1-reconstructed", "old/.caddy"),
    ):
        (tmp_path / folder).parent.mkdir(parents=True)
        plant(name, tmp_path).rename(tmp_path / folder)
    with pytest.raises(SourceUnavailable) as caught:
        await Reader(CADDY, tmp_path / path).load()
    assert str(caught.value).endswith(hint.format(path=tmp_path / path, parent=(tmp_path / path).parent))


@pytest.mark.parametrize(
    ("tree", "issuer", "site"),
    [
        ("caddy-2.6.2/data", "certificates/localhost-14000-dir", f"{NAME}/{NAME}"),
        ("caddy-2.6.2/data", "certificates/local", "wildcard_.wild.example.test/wildcard_.wild.example.test"),
        ("caddy-v1-reconstructed", V1.removesuffix("/sites"), f"sites/{NAME}/{NAME}"),
    ],
)
async def test_the_folder_of_one_issuer_is_read_and_watched(tmp_path, tree, issuer, site):
    """As it is mounted by itself (caddyserver/caddy-docker#89)."""
    root = plant(tree, tmp_path) / issuer
    reader = Reader(CADDY, root)
    label = site.rpartition("/")[2].replace("wildcard_", "*")
    before = await reader.leaves()
    assert len(before) == 2
    new = Authority().issue(NAME)
    async with reader.source.subscribe() as hints:
        (root / f"{site}.key").write_bytes(new.key)
        (root / f"{site}.crt").write_bytes(new.chain)
        async with asyncio.timeout(30):
            async for _ in hints:
                if (await reader.leaves())[label] == new.certificate.fingerprint:
                    break


async def test_a_storage_without_certificates_holds_none(tmp_path):
    assert await Reader(CADDY, tmp_path).leaves() == {}
    (tmp_path / "locks").mkdir()
    assert await Reader(CADDY, tmp_path).leaves() == {}
