"""A path that holds the store of another program says so, and which URL reads it: every kind in the place of every other."""

from __future__ import annotations

from functools import cache
from itertools import product
from pathlib import Path, PurePosixPath

import pytest

from controller.domain.errors import SourceMalformed, SourceUnavailable
from sources.archive import ArchiveTree, Node
from sources.other_stores import other_store
from sources.registry import LAYOUTS, create
from sources.surroundings import Surroundings
from tests.certs import Authority, Pair, acme_json
from tests.unit.sources.planted import Reader
from tests.unit.sources.trees import SHAPES, Shape

NAME = "mail.example.test"
BY_NAME = {shape.name: shape for shape in SHAPES}
SURE = ("traefik", "companion", "caddy", "caddy-v1", "certbot", "dsm-6", "dsm-7.3", "bolt")
"""Stores that are told from a folder of plain files; this is what ``pem://`` reads, and what is told last."""
READABLE = {("companion", "pem"), ("dsm-6", "pem"), ("dsm-7.3", "pem")}
"""Whose pairs another kind finds as well: nothing is broken there."""


@cache
def pair() -> Pair:
    return Authority().issue(NAME)


def lay_out(shape: Shape, root: Path) -> Path:
    root.mkdir(parents=True)
    shape.lay_out({NAME: pair()}).write(root)
    return root


async def told(kind: str, path: Path) -> str:
    try:
        snapshot = await Reader(LAYOUTS[kind], path).load()
    except (SourceUnavailable, SourceMalformed) as error:
        return str(error)
    assert snapshot.entries == ()
    return "; ".join(problem.message for problem in snapshot.problems)


def url(shape: Shape, root: Path) -> str:
    return f"{shape.kind}://{root}/{shape.focus}".rstrip("/")


@pytest.mark.parametrize(("name", "kind"), [(n, k) for n, k in product(SURE, LAYOUTS) if BY_NAME[n].kind != k])
async def test_the_folder_of_another_program_is_told_with_the_right_url(tmp_path, name, kind):
    root = lay_out(BY_NAME[name], tmp_path / "store")
    if (name, kind) in READABLE:
        assert [e.certificate.fingerprint for e in (await Reader(LAYOUTS[kind], root).load()).entries]
        return
    said = await told(kind, root)
    assert said.startswith(f"{root} ")
    assert said.endswith(f"; use {url(BY_NAME[name], root)}"), said
    (entry,) = (await create(url(BY_NAME[name], root), Surroundings()).load()).entries
    assert entry.certificate.leaf.names == (NAME,)


@pytest.mark.parametrize("kind", ["certbot", "caddy", "synology", "traefik", "boltdb"])
@pytest.mark.parametrize("name", ["pem", "pem-combined"])
async def test_plain_files_are_told_as_such(tmp_path, name, kind):
    root = lay_out(BY_NAME[name], tmp_path / "store")
    assert await told(kind, root) == f"{root} holds certificates or keys in PEM; use pem://{root}"


@pytest.mark.parametrize(
    ("name", "kind", "file"),
    [
        ("traefik", "pem", "acme.json"),
        ("traefik", "boltdb", "acme.json"),
        ("bolt", "traefik", "traefik.db"),
        ("bolt", "pem", "traefik.db"),
        ("pem-combined", "traefik", f"{NAME}.pem"),
        ("pem-combined", "boltdb", f"{NAME}.pem"),
    ],
)
async def test_a_file_that_was_named_is_told_with_the_right_kind(tmp_path, name, kind, file):
    root = lay_out(BY_NAME[name], tmp_path / "store")
    said = await told(kind, root / file)
    assert said.startswith(f"{root}/{file} is ")
    assert said.endswith(f"; use {BY_NAME[name].kind}://{root}/{file}")


@pytest.mark.parametrize(
    ("name", "below", "kind", "of"),
    [
        ("certbot", "etc/letsencrypt", "certbot", "the volume /config of SWAG"),
        ("certbot", "letsencrypt", "certbot", "a folder with the volumes of Nginx Proxy Manager"),
        ("certbot", "tls/certbot", "certbot", "the volume /data of NPMplus"),
        ("certbot", "conf", "certbot", "the folder of a Compose file that is copied much"),
        ("certbot", "etc/letsencrypt", "caddy", "the wrong program, too"),
        ("traefik", "acme", "certbot", "docker-mailserver's /etc/letsencrypt"),
        ("traefik", "acme", "traefik", "a folder too high"),
        ("traefik", "letsencrypt", "pem", "the folder with the Compose file"),
        ("caddy", "data/caddy", "certbot", "the folder with the volumes of Caddy"),
        ("caddy", ".local/share/caddy", "pem", "a home"),
        ("companion", "certs", "certbot", "the folder with the volumes of nginx-proxy"),
        ("dsm-6", "_archive", "certbot", "/usr/syno/etc/certificate"),
    ],
)
async def test_a_folder_above_is_told_with_the_right_path(tmp_path, name, below, kind, of):
    root = tmp_path / "volume"
    lay_out(BY_NAME[name], root / below)
    (root / "nginx").mkdir()
    (root / "keys").mkdir()
    said = await told(kind, root)
    assert said.startswith(f"{root} "), of
    assert said.endswith(f"use {url(BY_NAME[name], root / below)}"), of


@pytest.mark.parametrize("kind", LAYOUTS)
async def test_nothing_is_told_of_what_is_right_or_not_there_yet(tmp_path, kind):
    for shape in (shape for shape in SHAPES if shape.kind == kind):
        root = lay_out(shape, tmp_path / shape.name)
        (root / "acme.json").write_bytes(acme_json(pair()))
        await Reader(LAYOUTS[kind], root / shape.focus).leaves()
    (tmp_path / "new").mkdir()
    if LAYOUTS[kind].shape != "file":
        assert await told(kind, tmp_path / "new") == ""


@pytest.mark.parametrize(
    ("kind", "files"),
    [
        ("acme-companion", ("default.crt", "default.key", "dhparam.pem")),
        ("certbot", ("live/README", "accounts/x/private_key.json", "renewal-hooks/x")),
        ("caddy", ("instance.uuid", "acme/acme-v02/users/default/default.key", "locks/x.lock")),
        ("synology", ("INFO", "DEFAULT")),
    ],
)
async def test_nor_of_a_store_without_certificates(tmp_path, kind, files):
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("{}")
    assert await told(kind, tmp_path) == ""


async def test_a_traefik_file_that_does_not_exist_yet_is_told_unless_another_is_there(tmp_path):
    assert "does not exist (yet)" in await told("traefik", tmp_path / "acme.json")
    lay_out(BY_NAME["traefik"], tmp_path / "acme")
    said = await told("traefik", tmp_path / "acme.json")
    assert said.startswith(f"{tmp_path}/acme.json does not exist (yet); mount the directory that holds it")
    assert said.endswith(f"; {tmp_path} holds Traefik's acme.json; use traefik://{tmp_path}/acme/acme.json")


async def test_nor_is_the_file_of_another_source_taken_for_one_that_is_missing(tmp_path):
    (tmp_path / "other.json").write_bytes(acme_json(pair()))
    assert (await told("traefik", tmp_path / "acme.json")).endswith("or correct the path")
    (tmp_path / "acme.json").write_bytes(acme_json(pair()))
    assert (await told("traefik", tmp_path / "none.json")).endswith(f"use traefik://{tmp_path}/acme.json")


async def test_the_source_is_taken_up_once_the_right_store_is_there(tmp_path):
    (tmp_path / "acme.json").write_bytes(acme_json(pair()))
    reader = Reader(LAYOUTS["certbot"], tmp_path)
    with pytest.raises(SourceUnavailable):
        await reader.load()
    BY_NAME["certbot"].lay_out({NAME: pair()}).write(tmp_path)
    assert list(await reader.leaves()) == [NAME]


def test_in_a_container_the_url_names_it():
    data = acme_json(pair())
    nodes = {
        PurePosixPath("/etc/letsencrypt"): Node(is_folder=True, size=0, modified=1),
        PurePosixPath("/etc/letsencrypt/acme.json"): Node(is_folder=False, size=len(data), modified=1, data=data),
    }
    tree = ArchiveTree("proxy", PurePosixPath("/etc/letsencrypt"), nodes, focus="", limit=2**20)
    assert other_store(tree, "certbot") == (
        "proxy:/etc/letsencrypt holds Traefik's acme.json; use docker://proxy/etc/letsencrypt/acme.json?kind=traefik"
    )


async def test_names_with_blanks_are_written_as_in_a_url(tmp_path):
    root = lay_out(BY_NAME["certbot"], tmp_path / "my certs#1")
    said = await told("caddy", root)
    assert said.endswith(f"use certbot://{tmp_path}/my%20certs%231")
    assert (await create(said.rpartition(" ")[2], Surroundings()).load()).entries
