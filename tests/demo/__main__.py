"""The main job on a real mail server: two renewals, and what every port served before and after. Ends with 0 when all did."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import docker

from tests.certs import Pair
from tests.demo.scene import PORTS, Ferry, Watch, docker_socket
from tests.demo.screen import STEPS, Screen
from tests.lab import DOMAIN, ROOT, Lab, remove_leftovers
from tests.sdk import connect

IMAGE = "certferry:demo"
DIGITS = 6
SECONDS = 90.0
"""How long all ports may take, and the mail server three times that to start: only hangs are meant, no busy machine."""
STILL = 20.0
"""Every so many seconds it says that a build still goes on."""
BEFORE, ROUNDS = "before", ("first one", "1st renewal", "2nd renewal")


class DemoError(Exception):
    """The demonstration cannot go on; the message is for the viewer."""


def main() -> int:
    """Run it; the exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with Screen() as screen:
        try:
            remove_leftovers(_connect())
            _build(screen)
            with TemporaryDirectory(prefix="certferry-demo-") as folder:
                lab = Lab(Path(folder))
                try:
                    good = _play(lab, screen)
                finally:
                    screen.say("cleaning up: both containers, their network and volume, and the certificates go")
                    lab.close()
        except (DemoError, AssertionError) as error:
            screen.say(str(error), "bold red")
            return 1
        except KeyboardInterrupt:
            return 130
    _end(screen, good=good)
    return 0 if good else 1


def _connect() -> docker.DockerClient:
    if docker_socket() is None:
        raise DemoError("DOCKER_HOST leads to another machine; the demonstration needs an engine on this one")
    try:
        return connect(timeout=60)
    except docker.errors.DockerException as error:
        raise DemoError(f"no Docker Engine answers; `docker info` says why ({error})") from error


def _build(screen: Screen) -> None:
    screen.say("preparing debian:bookworm-slim, the base image (pulled, or built from Debian's packages: half a minute)")
    _run(screen, {"the base image": ["deploy/base-image.sh"]})
    screen.say(
        "building two images: certferry's own, and a mail server of Debian's Postfix and Dovecot (a minute; later seconds)"
    )
    _run(screen, {IMAGE: ["deploy/build-image.sh"], "the mail server's image": ["tests/images/build.sh", "mail"]})


def _run(screen: Screen, scripts: dict[str, list[str]]) -> None:
    """Run scripts side by side, each to its end; none goes on when the demonstration is stopped."""
    begin = said = time.time()
    running = {name: _start(*argv) for name, argv in scripts.items()}
    try:
        while running:
            for name, process in list(running.items()):
                try:
                    output, _ = process.communicate(timeout=0.2)
                except subprocess.TimeoutExpired:
                    continue
                del running[name]
                if process.returncode:
                    raise DemoError(f"{name} could not be built:\n{output[-2000:]}")
                screen.say(f"    {name} is ready after {time.time() - begin:.0f} s")
            if running and time.time() - said > STILL:
                said = time.time()
                screen.say(f"    still building {' and '.join(running)}")
    finally:
        for process in running.values():
            os.killpg(process.pid, signal.SIGTERM)


def _start(script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [ROOT / script, *arguments],
        env={**os.environ, "IMAGE": IMAGE},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def _play(lab: Lab, screen: Screen) -> bool:
    screen.say("starting the mail server; it makes itself a self-signed certificate")
    network = str(lab.network().name)
    mail = lab.mail(network=network, volumes={lab.volume().name: {"bind": "/tls", "mode": "rw"}})
    mail.wait_up(PORTS, seconds=3 * SECONDS)
    with Watch(mail) as watch:
        screen.column(BEFORE)
        for port in PORTS:
            screen.fill(port, BEFORE, mail.served(port)[:DIGITS], "yellow")
        for event in STEPS:
            screen.fill(event, BEFORE, "")
        screen.say("writing an acme.json as Traefik does, with certificates for three web sites, issued by a throw-away CA")
        others = [lab.issue(f"{name}.example.test") for name in ("www", "shop", "cloud")]
        lab.acme.write(*others)
        screen.say("starting certferry from its image, read-only, with Docker's socket and the folder of acme.json mounted")
        ferry = Ferry(lab, IMAGE, network)
        ferry.wait_for("target.not_ready", 0.0, SECONDS)
        screen.say(f"certferry found the mail server by its label, and no certificate for {DOMAIN} yet")
        good = all(_renew(lab, screen, name, others, ferry=ferry, watch=watch) for name in ROUNDS)
        if not good:
            screen.plain("\n".join(map(str, ferry.log[-8:])), "dim")
        dovecot, postfix = mail.reloads()
        told = f"Dovecot was reloaded {dovecot} times, Postfix {postfix} times"
        screen.say(f"{watch.handshakes} handshakes from outside meanwhile, {watch.failed} of them failed; {told}")
    return good


def _renew(lab: Lab, screen: Screen, name: str, others: list[Pair], *, ferry: Ferry, watch: Watch) -> bool:
    """Write a new certificate and fill its column while certferry carries it; whether every port came to serve it."""
    pair = lab.issue()
    leaf = pair.certificate.fingerprint
    screen.column(name)
    screen.say(f"{name}: rewriting acme.json, now with certificate {leaf[:DIGITS]} for {DOMAIN}")
    lab.acme.write(*others, pair)
    begin = time.time()
    while time.time() < begin + SECONDS:
        _fill(screen, name, leaf, begin, ferry=ferry, watch=watch)
        if watch.all_serve(leaf) and ferry.moment("target.ready", begin):
            last = max(watch.seen[port, leaf] for port in PORTS) - begin
            screen.say(
                f"{name}: all five ports served it after {last * 1000:.0f} ms; certferry has looked again, and it stayed"
            )
            return True
        time.sleep(0.05)
    for port in PORTS:
        if watch.now.get(port) != leaf:
            screen.fill(port, name, f"not new: {watch.now.get(port, '')[:DIGITS] or 'nothing'}", "bold red")
    return False


def _fill(screen: Screen, name: str, leaf: str, begin: float, *, ferry: Ferry, watch: Watch) -> None:
    for port in PORTS:
        if moment := watch.seen.get((port, leaf)):
            screen.fill(port, name, f"{leaf[:DIGITS]} {(moment - begin) * 1000:4.0f} ms", "green")
    for event in STEPS:
        if moment := ferry.moment(event, begin):
            screen.fill(event, name, f"{(moment - begin) * 1000:4.0f} ms")


def _end(screen: Screen, *, good: bool) -> None:
    if not good:
        screen.plain("Not every port served every new certificate; the end of certferry's log stands above.", "bold red")
        return
    screen.plain("Every port served each new certificate, and nothing was restarted.", "bold green")
    screen.plain("For your own mail server go on with “Use it” in README.md.")
    screen.plain(
        "The images stay for a next run; this removes them, and what building them left:"
        " docker image rm certferry:demo certferry-test/docker-mailserver:15.1.0;"
        " docker image prune --force --filter label=org.certferry.image=build-stage"
    )


if __name__ == "__main__":
    sys.exit(main())
