"""What certferry costs: at rest, with a very large store, and with many containers at once."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

from docker.models.containers import Container

from tests.bench.execs import Execs, most_at_a_time
from tests.bench.measure import Measure, laboratory, notes
from tests.bench.sampler import Sampler
from tests.certs import Pair, acme_json, new_key
from tests.lab import PLAIN_IMAGE, Controller, Lab, wait_until

IDLE_SECONDS = 60.0
STORE_SIZE = 5000
NEIGHBOURS = 4
MANY = 50
TICKS = os.sysconf("SC_CLK_TCK")


def idle(_rounds: int) -> list[Measure]:
    """Memory and processor time of a certferry that has one container to care for and nothing to do."""
    with laboratory() as lab:
        mail = lab.mail()
        mail.wait_up()
        lab.acme.write(lab.issue())
        certferry = lab.controller(start_grace="3s")  # one look is due when a started container's grace ends
        certferry.wait_ready(mail.name)
        time.sleep(3)
        notes.print(f"idle: watching it do nothing for {IDLE_SECONDS:g} s")
        looks = _looks(certferry)
        before = processor_seconds(certferry)
        time.sleep(IDLE_SECONDS)
        share = (processor_seconds(certferry) - before) / IDLE_SECONDS * 100
        memory = _mebibytes(certferry)
        looks = _looks(certferry) - looks
    told = f"{looks:.0f} looks at containers meanwhile; none when nothing else uses the engine"
    return [
        Measure("resident memory at rest", memory, "MiB", limit=80, note="VmRSS, one container watched"),
        Measure(f"processor in {IDLE_SECONDS:g} idle seconds", share, "% of a core", limit=0.2, note=told),
    ]


def big(_rounds: int) -> list[Measure]:
    """A store of thousands of certificates, of which one is renewed."""
    with laboratory() as lab, Execs(lab) as execs:
        notes.print(f"big: issuing {STORE_SIZE} certificates")
        keys = [new_key() for _ in range(8)]
        rest = [lab.issue(f"host{number}.example.test", key=keys[number % 8]) for number in range(STORE_SIZE - 1)]
        mail = lab.mail()
        neighbours = [_silent(lab, f"host{number}.example.test") for number in range(NEIGHBOURS)]
        mail.wait_up()
        lab.acme.write(lab.issue(), *rest)
        begin = time.time()
        certferry = lab.controller()
        loaded = moment_of(certferry.wait_for("source.loaded", seconds=120)["timestamp"]) - begin
        for name in (mail.name, *(str(container.name) for container in neighbours)):
            certferry.wait_ready(name, seconds=120)
        renewed = lab.issue()
        store, seen = acme_json(renewed, *rest), len(certferry.log)
        notes.print("big: renewing one of them")
        with Sampler(mail) as sampler:
            lab.acme.write_raw(store)
            begin = time.time()
            seconds = sampler.served(renewed, steady=1.0, limit=60) - begin
        certferry.wait_for("target.ready", after=seen, target=mail.name)
        touched = {x.container for x in execs.since(begin)}
        differs = moment_of(certferry.wait_for("target.differs", after=seen)["timestamp"]) - begin
        memory = _mebibytes(certferry)
    return [
        Measure(f"{STORE_SIZE} certificates, one renewed: rewrite → served", seconds, "s", limit=2, note="default window"),
        Measure("of that, until the difference was found", differs, "s"),
        Measure("containers in which a command ran", len(touched), limit=1, note=f"of {NEIGHBOURS + 1} that are watched"),
        Measure(
            "from the start of the process until the store is loaded", loaded, "s", note=f"{len(store) / 2**20:.1f} MiB of JSON"
        ),
        Measure("resident memory then", memory, "MiB"),
    ]


def many(_rounds: int) -> list[Measure]:
    """Many containers whose certificates are renewed by one rewrite; each runs one reload command, none has ports."""
    with laboratory() as lab, Execs(lab) as execs:
        names = [f"host{number}.example.test" for number in range(MANY)]
        notes.print(f"many: starting {MANY} containers")
        with ThreadPoolExecutor(4) as pool:
            containers = list(pool.map(lambda name: _silent(lab, name), names))
        lab.acme.write(*_issue_all(lab, names))
        certferry = lab.controller()
        for container in containers:
            certferry.wait_ready(str(container.name), seconds=120)
        fresh, seen = _issue_all(lab, names), len(certferry.log)
        notes.print("many: renewing all of them at once")
        lab.acme.write(*fresh)
        begin = time.time()
        wait_until(lambda: len(_reloads(certferry, seen)) == MANY, seconds=120, what="all are reloaded")
        last = max(moment_of(line["timestamp"]) for line in _reloads(certferry, seen))
        for container, pair in zip(containers, fresh, strict=True):
            certferry.wait_ready(str(container.name), pair)
        ran = execs.since(begin)
        peak = _mebibytes(certferry, "VmHWM")
    return [
        Measure(f"{MANY} containers at once: until the last one is installed and reloaded", last - begin, "s"),
        Measure("commands at a time, at most", most_at_a_time(ran), limit=4, note="CERTFERRY_WORKERS is 4"),
        Measure("commands run", len(ran), note=f"{len(ran) / MANY:.1f} for each container, the look afterwards included"),
        Measure("highest resident memory", peak, "MiB", note="VmHWM"),
    ]


def _silent(lab: Lab, domain: str) -> Container:
    """A target without ports, whose reload is a command that does nothing."""
    places = {"cert_path": "/tls/cert.pem", "key_path": "/tls/key.pem"}
    return lab.container(PLAIN_IMAGE, labels={"domain": domain, "reload": "true", "probe": "off", **places})


def _issue_all(lab: Lab, names: list[str]) -> list[Pair]:
    return [lab.issue(name) for name in names]


def _reloads(certferry: Controller, seen: int) -> list[dict[str, Any]]:
    return [line for line in certferry.log[seen:] if line["event"] == "target.reloaded"]


def moment_of(timestamp: str) -> float:
    """The time of a log line, in Unix seconds."""
    return datetime.fromisoformat(timestamp).timestamp()


def _looks(certferry: Controller) -> float:
    """How many containers it has looked at; it must look at every one that starts on the engine."""
    lines = certferry.get("/metrics")[1].splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("certferry_reconciles_total"))


def _mebibytes(certferry: Controller, field: str = "VmRSS") -> float:
    lines = Path(f"/proc/{certferry.process.pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024


def processor_seconds(certferry: Controller) -> float:
    """The processor time that a controller has used so far."""
    fields = Path(f"/proc/{certferry.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS
