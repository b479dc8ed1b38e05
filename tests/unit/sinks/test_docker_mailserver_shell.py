"""The question to docker-mailserver, run for real by whatever shells there are, with Postfix and Dovecot played by scripts."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path, PurePosixPath

import pytest

from sinks.profiles.docker_mailserver.asking import CHECKSUMS, LOCK, Used, ask, read
from tests.unit.sinks.shells import SHELLS

KEY = "-----BEGIN PRIVATE KEY-----\nMIIEvgIBADANBgkq==\n-----END PRIVATE KEY-----"
TOOLS = ("grep", "tr", "timeout", "cat", "sh", "printf")


class Place:
    """A folder of commands, played and real, and a shell that knows no others."""

    def __init__(self, shell: str, folder: Path) -> None:
        self.shell, self.folder = shell, folder
        self.run("sleep")
        for name in TOOLS:
            (folder / name).symlink_to(shutil.which(name) or name)

    def run(self, name: str, state: str = "S") -> None:
        """A process, of those that are there to be seen."""
        process = self.folder / "proc" / str(len(list(self.folder.glob("proc/*"))) + 1)
        process.mkdir(parents=True)
        (process / "comm").write_text(f"{name[:15]}\n")
        (process / "stat").write_text(f"1 ({name[:15]}) {state} 0 1 1 0 -1\n")

    def play(self, name: str, output: str, *, unless: str = "-P -x") -> None:
        """A command that prints a text, but where it is asked for single services."""
        (self.folder / f"{name}.txt").write_text(output)
        script = self.folder / name
        script.write_text(f'#!/bin/sh\ncase "$*" in *"{unless}"*) ;; *) cat {self.folder}/{name}.txt ;; esac\n')
        script.chmod(0o755)

    def ask(self) -> str:
        text = ask(["/tls/it's"]).replace("/proc/", f"{self.folder}/proc/").replace("/etc/dovecot", f"{self.folder}/dovecot")
        text = text.replace("/etc/letsencrypt/acme.json", f"{self.folder}/acme.json").replace(CHECKSUMS, f"{self.folder}/sums")
        text = text.replace(LOCK, f"{self.folder}/lock")
        argv = [SHELLS[self.shell], "-c", text]
        argv = [argv[0], "sh", *argv[1:]] if self.shell == "busybox" else argv
        result = subprocess.run(argv, capture_output=True, text=True, timeout=30, env={"PATH": str(self.folder)}, check=False)
        assert result.stderr == ""
        return result.stdout


@pytest.fixture(params=SHELLS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(request.param, tmp_path)


def test_a_container_without_any_of_it_answers_nothing_of_use(place):
    assert read(place.ask()).used == ()


def test_what_postfix_and_dovecot_are_set_to_is_told(place, tmp_path):
    key, chain = tmp_path / "key.pem", tmp_path / "chain.pem"
    key.write_text(KEY)
    chain.write_text("-----BEGIN CERTIFICATE-----\n")
    place.play("postconf", f"smtpd_tls_chain_files = {key}, {chain}\nsmtpd_tls_cert_file =\n", unless="*/*/")
    place.play("doveconf", f"ssl_cert = <{chain}\nssl_key = <{key}\nssl_alt_cert = \n", unless="nothing")
    answer = place.ask()
    pair = (PurePosixPath(key), PurePosixPath(chain))
    assert read(answer).used == (Used("Postfix", *pair), Used("Dovecot", *pair))
    assert f"key {key}\n" in answer
    assert f"key {chain}" not in answer


def test_the_newer_dovecot_is_asked_by_its_own_words(place):
    place.play("doveconf", "ssl_server {\n  cert_file = /c\n}\nssl_server {\n  key_file = /k\n}\n", unless="nothing")
    assert read(place.ask()).used == (Used("Dovecot", PurePosixPath("/k"), PurePosixPath("/c")),)


@pytest.mark.parametrize("setting", ["ssl_key", "ssl_alt_key", "  key_file", "ssl_key_password"])
@pytest.mark.parametrize("value", [KEY, KEY.replace("\n", " "), "\n" + KEY, "inline:" + KEY])
def test_a_key_that_stands_in_the_configuration_never_leaves_the_container(place, setting, value):
    place.play("doveconf", f"ssl_cert = </c\n{setting} = {value}\n", unless="nothing")
    answer = place.ask()
    assert "PRIVATE KEY" not in answer
    assert "MIIE" not in answer
    assert "ssl_cert = </c" in answer


def test_a_detector_that_runs_is_found(place):
    assert not read(place.ask()).detector
    place.run("check-for-changes.sh")
    assert read(place.ask()).detector


def test_its_lock_is_found(place, tmp_path):
    assert not read(place.ask()).busy
    (tmp_path / "lock").write_text("id")
    assert read(place.ask()).busy


def test_while_the_start_goes_on_the_configuration_is_not_asked_for(place):
    place.play("doveconf", "ssl_cert = </c\nssl_key = </k\n", unless="nothing")
    place.run("start-mailserver.sh")
    found = read(place.ask())
    assert (found.starting, found.used) == (True, ())


def test_when_the_detector_recorded_is_told(place, tmp_path):
    assert read(place.ask()).recorded is None
    for name in ("stat", "date"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    assert read(place.ask()).recorded is None
    (tmp_path / "sums").write_text("")
    recorded = read(place.ask()).recorded
    assert recorded is not None
    assert 0 <= recorded < 60


@pytest.mark.parametrize("state", ["T", "t", "Z", "X"])
def test_a_detector_that_is_stopped_or_dead_does_not_run(place, state):
    place.run("check-for-changes.sh", state)
    assert not read(place.ask()).detector


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("local_name a.example {\n  ssl_cert = </a\n}\n", True),
        ("  local 10.0.0.1 {\n  ssl_server {\n    cert_file = /a\n", True),
        ("local 10.0.0.0/8 {\n  doveadm_password = x\n}\n", False),
        ("#local_name a.example {\n#  ssl_cert = </a\n#}\nssl_cert = </c\n", False),
    ],
)
def test_certificates_for_single_names_are_found(place, text, found):
    place.play("doveconf", "ssl_cert = </c\nssl_key = </k\n", unless="nothing")
    folder = place.folder / "dovecot/conf.d"
    folder.mkdir(parents=True)
    (folder / "own.conf").write_text(text)
    answer = read(place.ask())
    assert bool(answer.by_name) is found
    assert answer.told


def test_maps_of_postfix_for_single_names_are_found(place):
    place.play("postconf", "smtpd_tls_chain_files =\ntls_server_sni_maps = texthash:/etc/postfix/sni\n", unless="*/*/")
    assert read(place.ask()).by_name == ("tls_server_sni_maps of Postfix",)


def test_whether_the_detector_saw_acme_json_is_told(place, tmp_path):
    """By its sum: it holds the keys of others, which stay where they are."""
    (tmp_path / "sha512sum").symlink_to(shutil.which("sha512sum") or "sha512sum")
    acme, sums = tmp_path / "acme.json", tmp_path / "sums"
    assert not read(place.ask()).acme_json
    acme.write_text('{"le": {}}')
    sums.write_text(subprocess.run(["sha512sum", acme], capture_output=True, text=True, check=True).stdout)
    found = read(place.ask())
    assert (found.acme_json, found.acme_seen) == (True, True)
    acme.write_text('{"le": {"Certificates": []}}')
    found = read(place.ask())
    assert (found.acme_json, found.acme_seen) == (True, False)


def test_a_key_in_the_configuration_of_postfix_never_leaves_the_container_either(place):
    place.play("postconf", f"smtpd_tls_chain_files = /c\nsmtpd_tls_key_file = {KEY.replace(chr(10), ' ')}\n", unless="*/*/")
    answer = place.ask()
    assert "MIIE" not in answer
    assert read(answer).used
