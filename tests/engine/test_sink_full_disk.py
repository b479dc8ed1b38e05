"""The staged bytes are read back before anything is replaced: a full disk costs nothing but an error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from controller.domain.errors import WriteFailed
from controller.engine import Engine
from tests.certs import Authority, Pair
from tests.engine.delivery import Delivery, files_of, litter, look_from_outside
from tests.lab import LABEL, NOSHELL_IMAGE, Lab

Options = dict[str, Any]


@pytest.fixture(scope="module")
def pairs() -> tuple[Pair, Pair]:
    authority = Authority()
    return authority.issue("mail.example.test"), authority.issue("mail.example.test", kind="rsa")


def tiny_tmpfs(_lab: Lab) -> Options:
    return {"tmpfs": {"/tls": "size=16k"}}  # the pair, and what was there before; not a second pair beside them


def tiny_volume(lab: Lab) -> Options:
    options = {"type": "tmpfs", "device": "tmpfs", "o": "size=16k"}
    volume = lab.docker.volumes.create(driver="local", driver_opts=options, labels={LABEL: lab.id})
    return {"volumes": {volume.name: {"bind": "/tls"}}}


@pytest.mark.parametrize("options", [tiny_tmpfs, tiny_volume])
@pytest.mark.parametrize("shell", ["dash", "bash"])
async def test_on_a_full_disk_the_old_pair_stays(
    engine: Engine, lab: Lab, pairs: tuple[Pair, Pair], options: Callable[[Lab], Options], shell: str
) -> None:
    container = lab.container(**options(lab))
    container.exec_run(["ln", "-sf", shell, "/bin/sh"])
    delivery = Delivery(engine, container)
    await delivery.bring(pairs[0])

    with pytest.raises(WriteFailed, match=r"could not be staged .* is the disk full\?") as refusal:
        await delivery.bring(pairs[1])
    assert "/tls" in str(refusal.value)
    assert delivery.look() == files_of(pairs[0])
    assert litter(container, "/", "/tls") == []


async def test_a_first_install_for_which_there_is_no_room_leaves_nothing(
    engine: Engine, lab: Lab, pairs: tuple[Pair, Pair]
) -> None:
    container = lab.container(tmpfs={"/tls": "size=4k"})
    delivery = Delivery(engine, container)

    with pytest.raises(WriteFailed, match="could not be staged"):
        await delivery.bring(pairs[1])
    assert delivery.look() == (None, None)
    assert litter(container, "/", "/tls") == []


async def test_without_a_shell_a_full_disk_brings_the_old_pair_back(engine: Engine, lab: Lab, pairs: tuple[Pair, Pair]) -> None:
    container = lab.container(NOSHELL_IMAGE, **tiny_volume(lab))
    delivery = Delivery(engine, container)
    await delivery.bring(pairs[0])
    key = delivery.place.key
    certificate = delivery.place.certificate
    assert key is not None
    assert certificate is not None

    with pytest.raises(WriteFailed, match="no space left on device"):
        await delivery.bring_contents({key: pairs[1].certificate.key_pem, certificate: pairs[1].certificate.fullchain_pem * 8})
    assert tuple(look_from_outside(container, certificate, key)) == files_of(pairs[0])
