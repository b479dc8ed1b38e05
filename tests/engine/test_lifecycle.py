"""What containers go through while certferry runs: they appear, restart, are made anew, renamed, paused and removed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import docker
import pytest
from docker.models.containers import Container

from tests.certs import Pair
from tests.engine.delivery import files_of, look
from tests.lab import Controller, Lab, wait_until

FILES = ("/tls/cert.pem", "/tls/key.pem")
LABELS = {"cert_path": FILES[0], "key_path": FILES[1], "probe": "off"}
WAITS_FOR_FILES = ["sh", "-c", "until [ -s /tls/cert.pem ]; do sleep 0.01; done; date +%s.%N; exec sleep infinity"]
ENDS_WITHOUT_FILES = ["sh", "-c", "cat /tls/key.pem /tls/cert.pem >/dev/null && echo found && exec sleep infinity"]
SETTINGS = {"settle": "0s", "resync": "1d", "batch_window": "50ms"}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One laboratory and one certferry for all tests that do not need their own."""
    laboratory = Lab(tmp_path_factory.mktemp("lifecycle"))
    yield laboratory
    laboratory.close()


@pytest.fixture
def own_lab(tmp_path: Path) -> Iterator[Lab]:
    """For tests with a certferry of their own."""
    laboratory = Lab(tmp_path)
    yield laboratory
    laboratory.close()


@pytest.fixture(scope="module")
def pair(lab: Lab) -> Pair:
    pair = lab.issue()
    lab.acme.write(pair)
    return pair


@pytest.fixture(scope="module")
def certferry(lab: Lab, pair: Pair) -> Controller:
    controller = lab.controller(**SETTINGS)
    controller.wait_for("engine.connected")
    return controller


def has(container: Container, pair: Pair) -> bool:
    return tuple(look(container, *FILES)) == files_of(pair)


def is_removed(container: Container) -> bool:
    """Remove a container; while a command is just begun in it Docker may answer 500, and wants to be asked again."""
    try:
        container.remove(force=True)
    except docker.errors.NotFound:
        return True
    except docker.errors.APIError:
        return False
    return True


def installs(certferry: Controller, container: Container) -> int:
    return len([line for line in certferry.events("target.installed") if line["target"] == container.name])


def test_a_container_that_appears_has_its_certificate_at_once(lab: Lab, certferry: Controller, pair: Pair) -> None:
    """On a tmpfs nothing can be written before the start, so the whole way lies between the start and the files."""
    container = lab.container(labels=LABELS, tmpfs={"/tls": ""}, entrypoint=WAITS_FOR_FILES)
    certferry.wait_ready(str(container.name))

    container.reload()
    started = datetime.fromisoformat(container.attrs["State"]["StartedAt"][:26] + "+00:00").timestamp()
    seconds = float(wait_until(lambda: bytes(container.logs()))) - started
    print(f"{seconds * 1000:.0f} ms from the start to the files")  # noqa: T201 -- shown by pytest -rP
    assert has(container, pair)


def test_a_container_that_was_only_created_has_its_certificate_before_its_first_start(
    lab: Lab, certferry: Controller, pair: Pair
) -> None:
    container = lab.container(labels=LABELS, entrypoint=ENDS_WITHOUT_FILES, start=False)
    certferry.wait_ready(str(container.name))
    container.start()

    wait_until(lambda: container.logs() == b"found\n")
    assert has(container, pair)


def test_a_restart_costs_nothing_where_the_files_stay_and_brings_them_back_where_they_do_not(
    lab: Lab, certferry: Controller, pair: Pair
) -> None:
    kept, lost = lab.container(labels=LABELS), lab.container(labels=LABELS, tmpfs={"/tls": ""})
    for container in (kept, lost):
        certferry.wait_ready(str(container.name))
        container.restart(timeout=0)
    wait_until(lambda: installs(certferry, lost) == 2)
    wait_until(lambda: has(lost, pair))
    certferry.wait_ready(str(lost.name))

    assert has(kept, pair)
    assert installs(certferry, kept) == 1


def test_a_container_made_anew_under_its_old_name_is_another_one(lab: Lab, certferry: Controller, pair: Pair) -> None:
    old = lab.container(labels=LABELS)
    name = str(old.name)
    certferry.wait_ready(name)
    old.remove(force=True)
    new = lab.container(labels=LABELS, name=name)
    wait_until(lambda: has(new, pair))

    certferry.wait_ready(name)
    assert [target["name"] for target in certferry.status()["targets"]].count(name) == 1


def test_a_new_name_is_taken_over(lab: Lab, certferry: Controller, pair: Pair) -> None:
    container = lab.container(labels=LABELS)
    old = str(container.name)
    certferry.wait_ready(old)
    container.rename(f"{old}-renamed")

    certferry.wait_ready(f"{old}-renamed")
    assert certferry.condition(old) == {}
    container.reload()
    assert installs(certferry, container) == 0


def test_a_paused_container_gets_its_certificate_when_it_goes_on(own_lab: Lab) -> None:
    own_lab.acme.write(own_lab.issue())
    container = own_lab.container(labels=LABELS)
    certferry = own_lab.controller(**SETTINGS)
    certferry.wait_ready(str(container.name))
    container.pause()
    renewed = own_lab.issue()
    own_lab.acme.write(renewed)
    wait_until(lambda: "paused" in certferry.condition(str(container.name)).get("message", ""), what=certferry.text)
    container.unpause()
    unpaused = time.monotonic()

    wait_until(lambda: has(container, renewed))
    print(f"{(time.monotonic() - unpaused) * 1000:.0f} ms from the end of the pause to the files")  # noqa: T201 -- as above
    certferry.wait_ready(str(container.name), renewed)


def test_containers_that_were_there_before_certferry_are_found(own_lab: Lab) -> None:
    pair = own_lab.issue()
    own_lab.acme.write(pair)
    running = own_lab.container(labels=LABELS)
    created = own_lab.container(labels=LABELS, start=False)
    certferry = own_lab.controller(**SETTINGS)
    for container in (running, created):
        certferry.wait_ready(str(container.name))
    created.start()
    assert has(running, pair)
    assert has(created, pair)
    assert certferry.stop() == 0


def test_a_container_removed_while_it_is_worked_on_disturbs_nobody(lab: Lab, certferry: Controller, pair: Pair) -> None:
    before = len(certferry.log)
    slow = lab.container(labels=LABELS | {"reload": "sleep 30"})
    wait_until(lambda: has(slow, pair))
    wait_until(lambda: is_removed(slow), what="it is removed")
    other = lab.container(labels=LABELS)

    certferry.wait_ready(str(other.name))
    wait_until(lambda: certferry.condition(str(slow.name)) == {}, what=certferry.text)
    told = [line for line in certferry.log[before:] if line.get("level") in ("error", "critical")]
    # Containers that come and go while other tests build an image are no concern of this one.
    assert [line for line in told if line.get("target") in (None, other.name)] == []
    assert "Traceback" not in certferry.text


def test_bad_labels_of_one_container_do_not_stop_another(lab: Lab, certferry: Controller, pair: Pair) -> None:
    bad = lab.container(labels=LABELS | {"cert_path": "relative", "mode": "0644", "reloat": "x"})
    good = lab.container(labels=LABELS)
    certferry.wait_ready(str(good.name))

    message = certferry.wait_reason(str(bad.name), "InvalidLabels")
    assert [word for word in ("cert-path", "mode", "reloat") if f"{lab.prefix}{word}" in message] == [
        "cert-path",
        "mode",
        "reloat",
    ]
    assert look(bad, *FILES) == [None, None]
    assert has(good, pair)


def test_containers_that_share_a_volume_take_turns(own_lab: Lab) -> None:
    pair = own_lab.issue()
    own_lab.acme.write(pair)
    volume = own_lab.volume().name
    reload = "sh -c 'echo begin >>/tls/log; sleep 0.2; echo end >>/tls/log'"
    containers = [
        own_lab.container(
            labels={**LABELS, "cert_path": f"/tls/{n}/cert.pem", "key_path": f"/tls/{n}/key.pem", "reload": reload},
            volumes={volume: {"bind": "/tls"}},
        )
        for n in range(3)
    ]
    certferry = own_lab.controller(**SETTINGS)
    for number, container in enumerate(containers):
        certferry.wait_ready(str(container.name))
        assert tuple(look(container, f"/tls/{number}/cert.pem", f"/tls/{number}/key.pem")) == files_of(pair)

    assert containers[0].exec_run(["cat", "/tls/log"]).output == b"begin\nend\n" * 3


def test_containers_that_share_one_pair_are_both_reloaded_though_no_port_proves_it(own_lab: Lab) -> None:
    own_lab.acme.write(own_lab.issue())
    volume = own_lab.volume().name
    labels = LABELS | {"reload": "sh -c 'cat /tls/key.pem >/loaded'"}
    containers = [own_lab.container(labels=labels, volumes={volume: {"bind": "/tls"}}) for _ in range(2)]
    certferry = own_lab.controller(**SETTINGS)
    for container in containers:
        certferry.wait_ready(str(container.name))
    renewed = own_lab.issue()
    own_lab.acme.write(renewed)
    for container in containers:
        certferry.wait_ready(str(container.name), renewed)
        assert has(container, renewed)

    loaded = [look(container, "/loaded")[0] for container in containers]
    assert [file and file.content for file in loaded] == [renewed.certificate.key_pem] * 2
