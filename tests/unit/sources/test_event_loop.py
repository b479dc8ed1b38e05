"""Nothing that a source does blocks the event loop: no look at a file, and no reading (see `tests.unit.blocking`)."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from blockbuster import BlockingError

from controller.domain.errors import SourceUnavailable
from sources import container
from sources.acme_companion import ACME_COMPANION
from sources.archive import ArchiveTree
from sources.caddy import CADDY
from sources.certbot import CERTBOT
from sources.container import ContainerStorage
from sources.layout import FileOptions, Layout
from sources.local import LocalStorage
from sources.pem_files import PEM
from sources.registry import create
from sources.stored import StoredSource
from sources.surroundings import Surroundings
from tests.unit.blocking import watched
from tests.unit.sources.planted import plant
from tests.unit.sources.test_container import Engine

GENEROUS = 30.0
STORES = [
    (CERTBOT, "certbot-2.1.0/after-renewal"),
    (ACME_COMPANION, "acme-companion/certs-first"),
    (CADDY, "caddy-2.6.2/data"),
    (PEM, "acme-companion/certs-first"),
]


@pytest.mark.parametrize(("layout", "tree"), STORES, ids=lambda value: getattr(value, "kind", None))
@pytest.mark.parametrize("options", [{}, {"poll": 0.01}], ids=["watched", "polled"])
async def test_a_folder_is_read_and_followed_without_blocking(tmp_path, layout: Layout, tree, options):
    root = plant(tree, tmp_path)
    given = layout.options.model_validate(options)
    source = StoredSource("it", layout, LocalStorage(root, layout, given), given)
    async with source.subscribe() as hints:
        assert (await source.load()).entries
        await asyncio.to_thread((root / "new").mkdir)
        async with asyncio.timeout(GENEROUS):
            await anext(hints)
        assert (await source.load()).entries


async def test_a_container_is_read_without_blocking_wherever_its_files_are_seen(tmp_path):
    root = plant("certbot-2.1.0/after-renewal", tmp_path)
    engine = Engine(tmp_path / "container")
    engine.own = root
    storage = ContainerStorage("proxy", PurePosixPath("/etc/letsencrypt"), CERTBOT, CERTBOT.options(), engine)
    source = StoredSource("it", CERTBOT, storage, FileOptions())
    async with source.subscribe():
        assert (await source.load()).entries


async def test_what_grows_with_a_store_is_made_beside_the_loop(tmp_path, monkeypatch):
    made_in: list[threading.Thread] = []

    class Noted(ArchiveTree):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            made_in.append(threading.current_thread())
            super().__init__(*arguments, **options)

    monkeypatch.setattr(container, "ArchiveTree", Noted)
    root = plant("certbot-2.1.0/after-renewal", tmp_path)
    storage = ContainerStorage("proxy", PurePosixPath("/", root.name), CERTBOT, CERTBOT.options(), Engine(root.parent))
    snapshot = await StoredSource("it", CERTBOT, storage, FileOptions()).load()
    assert snapshot.entries
    assert made_in
    assert threading.main_thread() not in made_in
    assert "by_name" in vars(snapshot), "its index of names is made when it is first asked for, which is in the loop"


@pytest.mark.parametrize("kind", ["consul", "etcd", "etcd2", "zookeeper"])
async def test_secrets_and_authorities_are_read_without_blocking(tmp_path: Path, kind):
    for name in ("secret", "ca.pem"):
        (tmp_path / name).write_text("secret")
    source = create(f"{kind}://127.0.0.1:9/x?user=me&password-file={tmp_path}/secret&tls-ca={tmp_path}/ca.pem", Surroundings())
    with pytest.raises(SourceUnavailable, match="tls-ca cannot be used"):
        await source.load()


def test_blocking_calls_in_the_loop_are_found_at_all(tmp_path):
    """Without this the tests above could not fail."""
    storage = LocalStorage(tmp_path, CERTBOT, FileOptions())

    async def block() -> None:
        storage._root()
        list(storage._paths())

    with pytest.raises(AssertionError, match=r"the loop was blocked: os\.\w+ by local\.py"), watched(), suppress(BlockingError):
        asyncio.run(block())
