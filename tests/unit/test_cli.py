"""The commands as a user meets them: what they print, and with which exit code they end."""

from __future__ import annotations

import http.server
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric import ed25519

from controller import cli
from controller.domain import mail_ports
from controller.domain.errors import SettingsError, TransientError
from controller.probe import verdict
from controller.x509.parsed import parsed
from controller.x509.roots import Roots
from tests.certs import Authority, Pair, acme_json, key_pem, new_key, self_signed
from tests.unit.made import DOMAIN, NEW, authority, pair
from tests.unit.tls_thread import tls_server

ROOT = Path(__file__).resolve().parents[2]
OK, FAILURE, USAGE, CONFIG = 0, 1, 2, 78


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No settings but those of the test, and nothing of this machine's Docker."""
    for name in os.environ:
        if name.startswith(("CERTFERRY_", "CERTS_SOURCE", "TRAEFIK_VERSION", "DOMAINS", "PUSH_PERIOD", "KV_", "KL_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-docker.sock")
    yield
    structlog.reset_defaults()


@pytest.fixture
def certferry(monkeypatch, capsys):
    """Run a command in this process."""

    def run(*argv: str, **settings: str) -> Ended:
        for name, value in settings.items():
            monkeypatch.setenv(f"CERTFERRY_{name.upper()}", value)
        monkeypatch.setattr(sys, "argv", ["certferry", *argv])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        code = ended.value.code
        return Ended(code if isinstance(code, int) else int(code is not None), printed.out, printed.err)

    return run


@pytest.fixture
def acme(tmp_path) -> Path:
    """A store of Traefik's that holds one certificate."""
    file: Path = tmp_path / "acme.json"
    file.write_bytes(acme_json(pair(**NEW)))
    return file


class TestSettings:
    @pytest.mark.parametrize("command", ["run", "once", "plan", "sources", "status", "health"])
    def test_wrong_ones_are_told_one_line_each_whatever_the_command(self, certferry, command):
        ended = certferry(command, workers="many", resync="soon", colour="blue")
        assert (ended.code, ended.out) == (CONFIG, "")
        assert sorted(line.split("=")[0] for line in ended.err.splitlines()) == [
            "certferry: CERTFERRY_COLOUR",
            "certferry: CERTFERRY_RESYNC",
            "certferry: CERTFERRY_WORKERS",
        ]

    @pytest.mark.parametrize("command", ["run", "once", "plan", "sources"])
    def test_without_a_source_the_mount_points_are_told(self, certferry, monkeypatch, command):
        monkeypatch.setattr("sources.registry.conventional", tuple)
        ended = certferry(command, discover="off")
        assert ended.code == CONFIG
        assert ended.err.startswith("certferry: no source of certificates: mount the proxy's store at one of /traefik, ")

    @pytest.mark.parametrize("command", ["run", "once", "plan"])
    def test_without_a_docker_socket_the_mount_is_told(self, certferry, acme, command):
        ended = certferry(command, sources=f"traefik://{acme}", http="off")
        assert ended.code == CONFIG
        assert "no Docker socket at " in ended.err
        assert "Traceback" not in ended.err

    def test_a_port_that_is_taken_is_told(self, certferry, acme):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            ended = certferry("run", sources=f"traefik://{acme}", http=f"127.0.0.1:{taken.getsockname()[1]}")
        assert ended.code == CONFIG
        assert "the port is in use; choose another one, or off" in ended.err

    def test_those_of_the_older_tool_are_understood(self, certferry, acme, monkeypatch):
        monkeypatch.setenv("PUSH_PERIOD", "5m")
        ended = certferry("sources", sources=f"traefik://{acme}")
        assert ended.code == OK

    @pytest.mark.parametrize("form", ["json", "console"])
    def test_what_those_of_the_older_tool_became_is_logged_without_its_secrets(self, certferry, monkeypatch, form):
        for name, value in {"CERTS_SOURCE": "consul", "KV_ENDPOINTS": "kv:8500", "KV_PASSWORD": "hunter2"}.items():
            monkeypatch.setenv(name, value)
        ended = certferry("once", http="off", log_format=form, log_level="debug")
        assert "consul://kv:8500/traefik/acme/account?password=***" in ended.err
        assert "hunter2" not in ended.out + ended.err


class TestHelp:
    def test_without_a_command_all_are_listed(self, certferry):
        ended = certferry()
        assert ended.code in (OK, USAGE)
        assert all(name in ended.out + ended.err for name in ("run", "once", "plan", "sources", "probe", "status", "health"))

    def test_the_version_is_told_without_a_command(self, certferry):
        ended = certferry("--version")
        assert (ended.code, ended.err) == (OK, "")
        assert ended.out.startswith("certferry 0.")

    def test_exit_codes_are_told(self, certferry):
        ended = certferry("--help")
        assert ended.code == OK
        assert "Exit codes: 0 yes, 1 no, 2 wrong usage, 78 configuration." in ended.out

    def test_an_unknown_command_is_a_matter_of_usage(self, certferry):
        assert certferry("renew").code == USAGE


class TestSources:
    def test_what_they_hold_is_shown(self, certferry, acme):
        ended = certferry("sources", sources=f"traefik://{acme}")
        assert ended.code == OK
        leaf = pair(**NEW).certificate.leaf
        assert all(text in ended.out for text in ("traefik", f"le/{DOMAIN}", "ecdsa 256", leaf.short, "up"))

    def test_as_json_for_programs(self, certferry, acme):
        ended = certferry("sources", "--json", sources=f"traefik://{acme}")
        (source,) = ended.json["sources"]
        assert (ended.code, source["name"], source["up"]) == (OK, "traefik", True)
        assert source["certificates"][0]["fingerprint"] == pair(**NEW).certificate.fingerprint

    def test_never_with_keys(self, certferry, acme):
        for options in ((), ("--json",)):
            printed = certferry("sources", *options, sources=f"traefik://{acme}").out
            assert "PRIVATE" not in printed
            assert not any(line.decode()[:20] in printed for line in pair(**NEW).key.splitlines()[1:-1])

    def test_one_that_cannot_be_read_is_a_failure_with_its_reason(self, certferry, tmp_path):
        ended = certferry("sources", sources=f"traefik://{tmp_path}/acme.json")
        assert ended.code == FAILURE
        assert "SourceUnavailable" in ended.out

    def test_the_others_are_shown_all_the_same(self, certferry, acme, tmp_path):
        ended = certferry("sources", "--json", sources=f"traefik://{tmp_path}/none.json traefik://{acme}?name=good")
        assert ended.code == FAILURE
        assert {source["name"]: source["up"] for source in ended.json["sources"]} == {"good": True, "traefik": False}

    def test_an_unusable_entry_is_shown_and_no_failure(self, certferry, tmp_path):
        file = tmp_path / "acme.json"
        file.write_bytes(acme_json(pair(**NEW), Pair(pair().chain, pair("other.example.com").key), main="x.example.com"))
        ended = certferry("sources", sources=f"traefik://{file}")
        assert ended.code == OK
        assert "KeyMismatch" in ended.out

    def test_a_single_file_that_cannot_be_read_is_a_failure_and_the_others_are_shown(self, certferry, tmp_path):
        folder = tmp_path / "certs"
        folder.mkdir()
        (folder / "good.crt").write_bytes(pair(**NEW).chain)
        (folder / "good.key").write_bytes(pair(**NEW).key)
        (folder / "odd.crt").symlink_to("nowhere")
        (folder / "odd.key").write_bytes(pair(**NEW).key)
        ended = certferry("sources", sources=f"pem://{folder}")
        assert (ended.code, pair(**NEW).certificate.leaf.short in ended.out) == (FAILURE, True)
        assert "odd.crt" in ended.out


@pytest.fixture
def _trusted(monkeypatch):
    """A machine that trusts our authority."""
    monkeypatch.setattr(verdict, "trusted_roots", lambda: Roots.of([parsed(authority().root)]))


class TestSelfSigned:
    def test_files_are_written_and_the_next_step_is_told(self, certferry, tmp_path):
        ended = certferry("self-signed", DOMAIN, "--out", str(tmp_path))
        assert (ended.code, ended.err) == (OK, "")
        *written, last = ended.out.replace("\n", " ").split("wrote ")[1:]
        assert [file.strip() for file in written] == [f"{tmp_path}/{DOMAIN}-{part}.pem" for part in ("key", "cert", "combined")]
        assert last.startswith(f"{tmp_path}/demoCA/cacert.pem now set SSL_TYPE=self-signed")
        assert (tmp_path / "demoCA" / "cacert.pem").is_file()

    def test_they_are_not_replaced_unasked(self, certferry, tmp_path):
        assert certferry("self-signed", DOMAIN, "--out", str(tmp_path), "--json").json["files"]
        ended = certferry("self-signed", DOMAIN, "--out", str(tmp_path))
        assert (ended.code, ended.out) == (FAILURE, "")
        assert "exist already; add --force to replace them" in ended.err
        assert certferry("self-signed", DOMAIN, "--out", str(tmp_path), "--force").code == OK

    @pytest.mark.parametrize("name", ["auto", "a b", "*.example.com", "a.example.com,b.example.com", "../x", ""])
    def test_a_name_that_is_none_is_told(self, certferry, tmp_path, name):
        ended = certferry("self-signed", name, "--out", str(tmp_path))
        assert (ended.code, ended.out) == (USAGE, "")
        assert "NAME" in ended.err
        assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("_trusted")
class TestProbe:
    def ask(self, certferry: Any, held: Pair, *options: str) -> Ended:
        with tls_server(held) as port:
            ended: Ended = certferry("probe", "127.0.0.1", "--ports", f"{port}/imaps", "--server-name", DOMAIN, *options)
            return ended

    def test_a_good_certificate_is_good(self, certferry):
        ended = self.ask(certferry, pair())
        assert (ended.code, "good" in ended.out, pair().certificate.leaf.issuer in ended.out) == (OK, True, True)

    def test_as_json_for_programs(self, certferry):
        ended = self.ask(certferry, pair(), "--json")
        (row,) = ended.json
        assert (ended.code, row["fingerprint"], row["problems"]) == (OK, pair().certificate.fingerprint, [])
        assert (row["host"], row["names"], row["trust"]) == ("127.0.0.1", [DOMAIN], "public")

    def test_each_judgement_has_a_field_of_its_own(self, certferry):
        (row,) = self.ask(certferry, pair(), "--json").json
        assert row["judgements"] == dict.fromkeys(("name", "dates", "chain", "trust", "usage", "key", "signature"), "")
        assert (row["as"], row["warnings"]) == (DOMAIN, [])
        (row,) = self.ask(certferry, pair("other.example.com", days=1, hours_old=25), "--json").json
        assert [judgement for judgement, text in row["judgements"].items() if text] == ["name", "dates"]
        assert row["problems"] == [text for text in row["judgements"].values() if text]

    @pytest.mark.parametrize("option", ["--as", "--server-name"])
    def test_what_clients_call_the_server_is_asked_for_and_judged(self, certferry, option):
        with tls_server(pair("imap.example.org")) as port:
            argv = ("probe", "127.0.0.1", "--ports", f"{port}/imaps", "--json")
            as_told = certferry(*argv, option, "imap.example.org")
            as_host = certferry(*argv)
        assert (as_told.code, as_told.json[0]["as"]) == (OK, "imap.example.org")
        assert as_host.json[0]["problems"] == ["it does not name 127.0.0.1, but imap.example.org"]

    def test_one_that_only_some_clients_accept_is_good_with_a_warning(self, certferry):
        ended = self.ask(certferry, authority().issue(DOMAIN, key=ed25519.Ed25519PrivateKey.generate()))
        assert (ended.code, "good, but its key is Ed25519" in " ".join(ended.out.split())) == (OK, True)

    @pytest.mark.parametrize(("days", "code"), [("89", OK), ("91", FAILURE)])
    def test_one_that_ends_too_soon_is_a_failure(self, certferry, days, code):
        ended = self.ask(certferry, pair(), "--min-days", days)
        assert ended.code == code
        assert ("fewer than 91" in " ".join(ended.out.split())) == (code == FAILURE)

    @pytest.mark.parametrize(
        ("held", "problem"),
        [
            (self_signed(DOMAIN), "it is self-signed"),
            (pair("other.example.com"), "it does not name mail.example.com, but other.example.com"),
            (pair(days=1, hours_old=25), "it ended on"),
            (Authority("another CA").issue(DOMAIN), "its root another CA root is not among this system's trusted roots"),
        ],
        ids=["self-signed", "another name", "ended", "private"],
    )
    def test_what_a_client_would_refuse_is_a_failure(self, certferry, held, problem):
        ended = self.ask(certferry, held, "--json")
        assert ended.code == FAILURE
        assert any(text.startswith(problem) for text in ended.json[0]["problems"])

    def test_a_host_that_hands_out_nothing_is_a_failure_and_named(self, certferry):
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            ended = certferry("probe", "127.0.0.1", "--ports", f"{closed.getsockname()[1]}/imaps")
        assert (ended.code, ended.err) == (FAILURE, "certferry: 127.0.0.1: no port handed out a certificate\n")

    def test_a_closed_port_is_no_problem_where_it_was_not_asked_for_by_number(self, certferry, monkeypatch):
        with tls_server(pair()) as port, socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            ports = f"{port}/imaps,{closed.getsockname()[1]}/imaps"
            assert certferry("probe", "127.0.0.1", "--ports", ports, "--server-name", DOMAIN).code == FAILURE
            monkeypatch.setattr(mail_ports, "STANDARD_PORTS", mail_ports.parse_probe_list(ports))
            assert certferry("probe", "127.0.0.1", "--server-name", DOMAIN).code == OK

    @pytest.mark.parametrize(
        ("argv", "told"),
        [
            (["127.0.0.1", "--ports", "993/imap4,x"], "Invalid value for --ports: '993/imap4': unknown protocol 'imap4'"),
            (
                ["127.0.0.1", "--ports", ","],
                "--ports: an entry is empty; write port/protocol entries such as 25/smtp,993/imaps",
            ),
            (["127.0.0.1", "--min-days", "-1"], "Invalid value for '--min-days'"),
            (["mail.example.com:465"], "write mail.example.com --ports 465/smtps"),
            (["[::1]:26"], "write ::1 --ports 26/imaps"),
            ([""], "'' is no host name or address; write one such as mail.example.com"),
            (["127.0.0.1", "--as", "mail example"], "--as: 'mail example' is no host name or address"),
            (["mail.example.com", "https://mail.example.com"], "'https://mail.example.com' is no host name or address"),
        ],
    )
    def test_wrong_arguments_are_a_matter_of_usage(self, certferry, argv, told):
        ended = certferry("probe", *argv)
        assert (ended.code, ended.out) == (USAGE, "")
        assert told in " ".join(ended.err.replace("│", " ").split())
        assert ended.err.count("an entry is empty") < 2

    @pytest.mark.parametrize("name", ["[/bold]", "[red]x[/red]", ":smile:", "\x1b[2J"])
    def test_whatever_stands_in_a_certificate_is_shown_as_it_is_and_steers_nothing(self, certferry, name):
        """A hostile host would only have to name itself in the markup of the table."""
        key = new_key()
        leaf = Authority._sign(name, key, name, key, names=(DOMAIN,))
        held = Pair(Authority._pem(leaf), key_pem(key))
        ended = self.ask(certferry, held)
        assert ended.code == FAILURE
        assert ("\\x1b[2J" if name == "\x1b[2J" else name) in ended.out
        assert "\x1b" not in ended.out


class Answer(http.server.BaseHTTPRequestHandler):
    body = b""
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_args: object) -> None:
        """Nothing."""


@contextmanager
def controller_that_answers(body: object, status: int = 200) -> Iterator[str]:
    """The address of something that gives the same answer to everything."""
    handler = type("Handler", (Answer,), {"body": json.dumps(body).encode() if body is not None else b"", "status": status})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join(20)


class TestAskingTheController:
    @pytest.mark.parametrize("command", ["status", "health"])
    def test_without_one_it_is_told(self, certferry, command):
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{closed.getsockname()[1]}"
            ended = certferry(command, http=address)
        assert (ended.code, ended.out) == (FAILURE, "")
        assert ended.err.startswith(f"certferry: no controller answers at {address} (")
        assert ended.err.endswith("is `certferry run` running?\n")

    @pytest.mark.parametrize("command", ["status", "health"])
    def test_with_its_pages_off_it_is_told(self, certferry, command):
        ended = certferry(command, http="off")
        assert (ended.code, "CERTFERRY_HTTP is off" in ended.err) == (CONFIG, True)

    @pytest.mark.parametrize("command", ["status", "health"])
    @pytest.mark.parametrize("body", [{"detail": "Not Found"}, [], "text", None])
    def test_something_else_that_answers_there_is_told(self, certferry, command, body):
        with controller_that_answers(body, status=404) as address:
            ended = certferry(command, http=address)
        assert ended.code == FAILURE
        assert "Traceback" not in ended.err
        assert address in ended.err

    @pytest.mark.parametrize(
        ("command", "body"),
        [
            ("status", {"targets": []}),
            ("status", {"targets": [{}], "sources": [{}], "engine": {}, "ready": True}),
            ("status", {"targets": 1, "sources": None, "engine": "\x1b[2J", "ready": True}),
            ("health", {"ok": False}),
            ("health", {"ok": False, "missing": [1, None]}),
            ("health", {"ok": False, "missing": 5}),
        ],
    )
    def test_half_an_answer_is_no_traceback(self, certferry, command, body):
        with controller_that_answers(body) as address:
            ended = certferry(command, http=address)
        assert (ended.code, ended.out) == (FAILURE, "")
        assert ended.err == f"certferry: what answers at {address} is not this version of certferry\n"

    @pytest.mark.parametrize(
        ("body", "code", "text"),
        [
            ({"ok": True, "missing": []}, OK, "healthy\n"),
            ({"ok": False, "missing": ["the task docker has ended"]}, FAILURE, "the task docker has ended\n"),
        ],
    )
    def test_health_is_its_exit_code(self, certferry, body, code, text):
        with controller_that_answers(body, status=200 if body["ok"] else 503) as address:
            assert certferry("health", http=address)[:2] == (code, text)
            assert certferry("health", "--json", http=address).json == body

    def test_it_is_asked_on_this_machine_where_it_listens_on_all_addresses(self, certferry):
        with controller_that_answers({"ok": True, "missing": []}) as address:
            assert certferry("health", http=f"0.0.0.0:{address.split(':')[1]}").code == OK

    @pytest.mark.parametrize(("ready", "code"), [(True, OK), (False, FAILURE)])
    def test_status_shows_what_it_knows(self, certferry, ready, code):
        target = {
            "name": "mail",
            "domains": [DOMAIN],
            "condition": {"ready": ready, "reason": None if ready else "Expired", "message": "so [it] is"},
            "installed": [{"fingerprint": "0123456789abcdef"}],
            "served": [{"port": 993, "fingerprint": "0123456789abcdef"}, {"port": 25, "fingerprint": None}],
            "notes": ["beware"],
        }
        problem = {"label": "le/x", "reason": "WeakKey", "message": "too short"}
        source = {"name": "traefik", "up": True, "reason": None, "message": "", "entries": 1, "problems": [problem]}
        body = {"ready": ready, "engine": {"up": True, "message": ""}, "sources": [source], "targets": [target]}
        with controller_that_answers(body) as address:
            ended = certferry("status", http=address)
            assert certferry("status", "--json", http=address).json == body
        assert ended.code == code
        said = ("mail", DOMAIN, "0123456789ab", "993", "WeakKey", "traefik: up", "mail: note: beware")
        assert [text for text in said if text not in ended.out] == []
        assert ("mail: Expired: so [it] is" in ended.out) == (not ready)


class TestAsAProgram:
    """As the image starts it: another process."""

    def run(self, *argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("CERTFERRY_")}
        return subprocess.run(
            [sys.executable, "-m", "controller", *argv],
            cwd=ROOT,
            env={**clean, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def test_wrong_settings_end_it_with_78_and_no_traceback(self):
        ended = self.run("run", CERTFERRY_WORKERS="many")
        assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (CONFIG, "", 1)

    def test_the_health_check_starts_without_what_it_does_not_need(self):
        heavy = ("aiodocker", "aiohttp", "cryptography", "docker", "prometheus_client", "rich")
        loaded = "import sys, controller.cli, controller.asking; print([m for m in sys.argv[1:] if m in sys.modules])"
        ended = subprocess.run(
            [sys.executable, "-c", loaded, *heavy], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
        assert ended.stdout == "[]\n"


class TestErrorsInGroups:
    """Tasks that end together bring what they raise in groups, and groups in groups."""

    @pytest.mark.parametrize(
        ("raised", "code", "told"),
        [
            (SettingsError("one\ntwo"), CONFIG, ["certferry: one", "certferry: two"]),
            (ExceptionGroup("", [SettingsError("one")]), CONFIG, ["certferry: one"]),
            (ExceptionGroup("", [ExceptionGroup("", [SettingsError("deep")])]), CONFIG, ["certferry: deep"]),
            (ExceptionGroup("", [TransientError("away"), SettingsError("one")]), CONFIG, ["certferry: away", "certferry: one"]),
            (ExceptionGroup("", [TransientError("away")]), FAILURE, ["certferry: away"]),
            (BaseExceptionGroup("", [KeyboardInterrupt()]), 130, []),
            (KeyboardInterrupt(), 130, []),
        ],
        ids=lambda value: repr(value)[:50],
    )
    def test_end_with_the_exit_code_of_what_is_in_them_and_no_traceback(self, certferry, monkeypatch, raised, code, told):
        def fail(_main: Any) -> None:
            _main.close()
            raise raised

        monkeypatch.setattr("controller.running.run", fail)
        ended = certferry("sources")
        assert (ended.code, ended.err.splitlines()) == (code, told)

    def test_show_the_traceback_of_what_nobody_foresaw_and_keep_the_exit_code_of_the_rest(self, certferry, monkeypatch):
        def fail(_main: Any) -> None:
            _main.close()
            raise ExceptionGroup("", [ZeroDivisionError("a bug"), SettingsError("one")])

        monkeypatch.setattr("controller.running.run", fail)
        ended = certferry("sources")
        assert ended.code == CONFIG
        assert "ZeroDivisionError: a bug" in ended.err
        assert ended.err.splitlines()[-1] == "certferry: one"


class TestExtraRoots:
    def test_are_trusted_and_what_cannot_be_read_ends_the_command_with_its_reason(self, certferry, tmp_path):
        held = Authority("a CA of our own").issue(DOMAIN)
        (tmp_path / "cert.pem").write_bytes(held.chain)
        (tmp_path / "key.pem").write_bytes(held.key)
        before = certferry("sources", "--json", sources=f"pem://{tmp_path}").json["sources"][0]["certificates"][0]
        assert (before["trust"], "a CA of our own root" in before["why"]) == ("root_unknown", True)
        ended = certferry("sources", sources=f"pem://{tmp_path}", extra_roots=str(tmp_path / "nothing.pem"))
        assert (ended.code, ended.out) == (CONFIG, "")
        assert (
            "nothing.pem: no roots can be read there: No such file or directory; mount the file, or correct the path"
            in ended.err
        )
