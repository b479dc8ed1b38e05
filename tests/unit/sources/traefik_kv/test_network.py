"""What a store behind a network is told by its URL: servers, who asks, whom to trust; and that no secret is ever shown."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import SecretStr

from controller.domain.errors import SettingsError, SourceUnavailable
from sources.files import MIB
from sources.traefik_kv.consul import ConsulOptions
from sources.traefik_kv.network import (
    Endpoint,
    NetworkOptions,
    TlsMaterial,
    as_file,
    check_options,
    explain_tls,
    read_endpoints,
    read_secret,
)
from sources.url import SourceUrl, parse_url
from tests.certs import Pair, key_pem, new_key
from tests.unit.sources.toy import authority

SECRET = "hunter2"
BASE = "etcd://etcd:2379/traefik/acme/account"
PEM = "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n"

NO_SERVERS = [
    *("::1", "[::1", "::1]", "[]", "[]:1", "[x]", "[::1]1", "[::1]x:1", "[::1]:", "[10.0.0.1]"),
    *(":1", "a:", "http:", "a:b", "a:1:2", "a:-1", "a:+1", "a:0", "a:65536", "a:99999", "a:000080", "a:0000809999999", "a:٣"),
    *("a b", "ä", "a\n", "a%20b"),
]


def read_options(**given: str) -> NetworkOptions:
    """As of a URL: spelled with hyphens, and checked."""
    url = SourceUrl("etcd", "etcd:2379", "/x", options={name.replace("_", "-"): value for name, value in given.items()})
    options = url.read_options(NetworkOptions)
    check_options(url, options)
    return options


def option_complaint(query: str) -> str:
    url = parse_url(f"{BASE}?{query}")
    with pytest.raises(SettingsError) as caught:
        check_options(url, url.read_options(ConsulOptions))
    said = str(caught.value)
    assert SECRET not in f"{said} {caught.value.__context__!r} {caught.value.__cause__!r}"
    assert said.startswith(f"{BASE}: ")
    return said.removeprefix(f"{BASE}: ")


def endpoints(host: str, *, kind: str = "etcd") -> tuple[Endpoint, ...]:
    return read_endpoints(SourceUrl(kind, host, "/x"), port=2379)


class TestOptions:
    def test_without_any_it_is_plain_text_and_five_seconds(self):
        options = read_options()
        assert (options.timeout, options.uses_tls, options.user, options.max_size) == (5.0, False, "", 16 * MIB)

    def test_each_is_read_as_it_is_documented(self):
        options = read_options(
            timeout="10s", user="reader", password_file="/run/secrets/etcd", tls="on", tls_ca="/ca.pem", tls_server_name="x"
        )
        assert (options.timeout, options.user, options.password_file) == (10.0, "reader", Path("/run/secrets/etcd"))
        assert (options.tls, options.tls_ca, options.tls_server_name) == (True, "/ca.pem", "x")

    @pytest.mark.parametrize(
        "given",
        [
            {"tls": "on"},
            {"tls_ca": "/x"},
            {"tls_cert": "/x", "tls_key": "/x"},
            {"tls_server_name": "x"},
            {"tls_insecure_skip_verify": "on"},
        ],
        ids=str,
    )
    def test_any_option_of_tls_says_to_speak_it(self, given):
        assert read_options(**given).uses_tls

    @pytest.mark.parametrize(
        ("query", "message"),
        [
            ("pasword=hunter2", "unknown option pasword; did you mean password?"),
            ("tokenfile=/hunter2", "unknown option tokenfile; did you mean token-file?"),
            ("tls-insecure=on", "unknown option tls-insecure; did you mean tls-insecure-skip-verify?"),
            ("tlsca=/hunter2", "unknown option tlsca; did you mean tls-ca?"),
            ("usr=hunter2", "unknown option usr; did you mean user?"),
            ("poll=5s", "unknown option poll; known are "),
            ("timeout=0s", "option timeout: expected more than 0"),
            ("timeout=1h", "option timeout: expected at most 300 s"),
            ("timeout=5", "option timeout: '5' is not a duration"),
            ("tls=hunter2", "option tls: expected on or off"),
            ("max-size=0", "option max-size: expected more than 0"),
        ],
    )
    def test_a_typing_error_or_wrong_value_is_told_with_what_was_meant(self, query, message):
        assert option_complaint(query).startswith(message)

    @pytest.mark.parametrize(
        ("query", "message"),
        [
            ("user=x&password=hunter2&password-file=/x", "give password or password-file, not both"),
            ("password=hunter2", "a password needs a user; add user=…"),
            ("password-file=/hunter2", "a password needs a user; add user=…"),
            ("user=x:hunter2", "a user's name holds no ':'; give the password by password-file=…"),
            ("tls-cert=/x", "tls-cert and tls-key belong together; give both"),
            ("tls-key=hunter2", "tls-cert and tls-key belong together; give both"),
            ("tls-cert=/x&tls-key=hunter2", "tls-key is neither an absolute path nor PEM, percent-encoded; correct it"),
            ("tls-cert=hunter2&tls-key=/x", "tls-cert is neither an absolute path nor PEM, percent-encoded; correct it"),
            ("tls-ca=ca.pem", "tls-ca is neither an absolute path nor PEM, percent-encoded; correct it"),
            ("tls-ca=/ca%00", "tls-ca is neither an absolute path nor PEM, percent-encoded; correct it"),
        ],
    )
    def test_what_contradicts_itself_is_told(self, query, message):
        assert option_complaint(query) == message

    def test_secrets_show_in_no_representation(self):
        options = ConsulOptions(
            password=SecretStr(SECRET), token=SecretStr(SECRET), tls_cert=PEM, tls_key=PEM, tls_ca="/ca.pem", user="reader"
        )
        shown = f"{options!r} {options} {TlsMaterial(options)!r} {TlsMaterial(options)}"
        assert SECRET not in shown
        assert "reader" in shown

    @given(st.dictionaries(st.sampled_from([name.replace("_", "-") for name in ConsulOptions.model_fields]), st.text()))
    def test_no_values_raise_anything_else(self, given):
        url = SourceUrl("consul", "consul", "/x", options=given)
        with suppress(SettingsError):
            check_options(url, url.read_options(ConsulOptions))


class TestEndpoints:
    @pytest.mark.parametrize(
        ("host", "wanted"),
        [
            ("etcd", [("etcd", 2379)]),
            ("etcd:1", [("etcd", 1)]),
            ("etcd:65535", [("etcd", 65535)]),
            ("my_etcd-1.example.test:02379", [("my_etcd-1.example.test", 2379)]),
            ("10.0.0.1:4001", [("10.0.0.1", 4001)]),
            ("[::1]", [("::1", 2379)]),
            ("[2001:db8::1]:4001", [("2001:db8::1", 4001)]),
            ("[fe80::1%eth0]:4001", [("fe80::1%eth0", 4001)]),
            ("a,b:1,[::1]:2,[::2]", [("a", 2379), ("b", 1), ("::1", 2), ("::2", 2379)]),
            ("a,,b,", [("a", 2379), ("b", 2379)]),
        ],
    )
    def test_servers_are_read_in_their_order(self, host, wanted):
        assert endpoints(host) == tuple(Endpoint(*one) for one in wanted)

    @pytest.mark.parametrize("text", ["etcd:2379", "[::1]:2379", "10.0.0.1:2379"])
    def test_they_are_shown_as_they_are_written(self, text):
        assert str(endpoints(text)[0]) == text

    @pytest.mark.parametrize("host", ["", ",", ",,"])
    def test_a_url_without_any_is_told_one(self, host):
        with pytest.raises(SettingsError) as caught:
            endpoints(host)
        assert str(caught.value) == f"etcd://{host}/x names no server; write one such as etcd://etcd:2379/traefik/acme/account"

    @pytest.mark.parametrize("text", NO_SERVERS)
    def test_what_is_no_server_is_told_with_an_example(self, text):
        with pytest.raises(SettingsError) as caught:
            endpoints(f"good,{text}")
        assert str(caught.value) == (
            f"etcd://good,{text}/x: {text!r} is no server; write host:port or [IPv6]:port, several separated by commas"
        )

    @given(st.text() | st.from_regex(r"[\[\]:0-9a-f.,%]*", fullmatch=True))
    @example("[" * 100_000)
    @example("a:" + "9" * 100_000)
    def test_no_text_raises_anything_else(self, text):
        with suppress(SettingsError):
            found = endpoints(text)
            assert all(one.host and 0 < one.port < 65536 for one in found)
            assert endpoints(",".join(map(str, found))) == found

    @given(st.ip_addresses(v=6), st.integers(1, 65535))
    def test_every_ipv6_address_is_read_as_it_is_shown(self, address, port):
        wanted = Endpoint(str(address), port)
        assert endpoints(str(wanted)) == (wanted,)


class TestSecrets:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        return tmp_path / "secret"

    def complaint(self, file: Path) -> str:
        with pytest.raises(SourceUnavailable) as caught:
            read_secret(SecretStr(""), file)
        assert SECRET not in f"{caught.value} {caught.value.__context__!r} {caught.value.__cause__!r}"
        return str(caught.value)

    def test_one_may_be_given_by_itself(self):
        assert read_secret(SecretStr(SECRET), None) == SECRET

    @pytest.mark.parametrize(
        ("content", "secret"), [("hunter2", SECRET), ("hunter2\n", SECRET), ("hunter2\r\n", SECRET), ("", ""), (" ä \n", " ä ")]
    )
    def test_the_last_line_break_of_a_file_is_none_of_it(self, file, content, secret):
        file.write_bytes(content.encode())
        assert read_secret(SecretStr(""), file) == secret

    def test_a_file_is_read_at_each_use(self, file):
        for secret in ("one", "two"):
            file.write_text(secret)
            assert read_secret(SecretStr(""), file) == secret
        file.unlink()
        assert self.complaint(file).startswith(f"{file} does not exist (yet); mount the directory that holds it")

    def test_one_that_is_no_text_is_told_and_not_repeated(self, file):
        file.write_bytes(SECRET.encode() + b"\xff")
        assert self.complaint(file) == f"the secret in {file} is not text; write it as UTF-8, or correct the path"

    def test_one_that_may_not_be_read_is_told(self, open_directory, unprivileged):
        file = open_directory / "secret"
        file.write_text(SECRET)
        file.chmod(0)
        with unprivileged():
            assert self.complaint(file).startswith(f"{file} may not be read; run certferry as root or as ")

    @pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
    def test_what_is_no_file_is_told_and_never_waited_for(self, file, make):
        make(file)
        assert self.complaint(file).startswith(f"{file} is a ")

    def test_an_endless_one_is_not_read(self, file):
        file.write_bytes(bytes(MIB + 1))
        assert "is larger than 1 MiB" in self.complaint(file)

    def test_a_path_that_no_file_system_takes_is_told(self):
        assert self.complaint(Path("/a\0b")).startswith("the secret in /a\0b is not text")


@pytest.fixture(scope="module")
def pair() -> Pair:
    return authority().issue("client.example.test")


@pytest.fixture
def files(tmp_path, pair) -> dict[str, str]:
    """Paths of good and bad TLS files."""
    contents = {
        "ca": authority().root_pem,
        "cert": pair.chain,
        "key": pair.key,
        "other": authority().issue("other.example.test").key,
        "encrypted": key_pem(new_key(), b"geheim"),
        "garbage": b"hunter2" * 100,
        "empty": b"",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    return {name: str(tmp_path / name) for name in (*contents, "folder", "pipe", "missing")}


def tls_complaint(**given: str) -> str:
    with pytest.raises(SourceUnavailable) as caught:
        TlsMaterial(read_options(**given)).context()
    assert SECRET not in str(caught.value)
    return str(caught.value)


def issuers(context: ssl.SSLContext) -> int:
    return len(context.get_ca_certs())


class TestTls:
    def test_without_an_authority_the_systems_are_trusted_and_names_are_checked(self):
        context = TlsMaterial(read_options(tls="on")).context()
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)

    def test_an_authority_may_be_a_file_or_pem_and_stands_in_place_of_the_systems(self, files):
        pem = Path(files["ca"]).read_text()
        for text in (files["ca"], pem, f"\n{pem}", f"# Autorité\n{pem}", pem + authority().intermediate_pem.decode()):
            context = TlsMaterial(read_options(tls_ca=text)).context()
            assert issuers(context) == (text.count("BEGIN") or 1)
            assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)

    def test_unverified_means_neither_authority_nor_name(self):
        context = TlsMaterial(read_options(tls_insecure_skip_verify="on")).context()
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_NONE, False)

    @pytest.mark.parametrize("inline", [(), ("cert",), ("key",), ("cert", "key")], ids=str)
    def test_a_client_certificate_and_its_key_may_each_be_a_file_or_pem(self, files, inline):
        given = {
            name: Path(path).read_text() if name in inline else path for name, path in files.items() if name in ("cert", "key")
        }
        assert TlsMaterial(read_options(tls_cert=given["cert"], tls_key=given["key"])).context()

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("missing", "{} does not exist (yet); mount the directory that holds it into certferry's container"),
            ("folder", "{} is a directory: "),
            ("pipe", "{} is a pipe, not a file; correct the path"),
            ("garbage", "tls-ca cannot be used (no certificate or crl found); name a PEM file of the store's authority"),
            ("empty", "tls-ca cannot be used (no certificate or crl found); name a PEM file of the store's authority"),
            ("key", "tls-ca cannot be used (no certificate or crl found); name a PEM file of the store's authority"),
        ],
    )
    def test_an_authority_that_is_none_is_told(self, files, name, message):
        assert tls_complaint(tls_ca=files[name]).startswith(message.format(files[name]))

    @pytest.mark.parametrize("text", [PEM, "-----BEGIN ", "-----BEGIN ä\udcff\0", PEM.replace("PRIVATE KEY", "CERTIFICATE")])
    def test_pem_that_is_none_is_told_and_not_repeated(self, files, text):
        assert tls_complaint(tls_ca=text).startswith("tls-ca cannot be used (")
        assert tls_complaint(tls_cert=text, tls_key=files["key"]).startswith("tls-cert and tls-key cannot be used (")
        assert tls_complaint(tls_cert=files["cert"], tls_key=text).startswith("tls-cert and tls-key cannot be used (")

    @pytest.mark.parametrize(
        ("certificate", "key", "message"),
        [
            ("missing", "key", "{missing} does not exist (yet); "),
            ("cert", "missing", "{missing} does not exist (yet); "),
            ("cert", "folder", "{folder} is a directory: "),
            ("cert", "pipe", "{pipe} is a pipe, not a file; correct the path"),
            ("garbage", "key", "tls-cert and tls-key cannot be used (no PEM); give a pair in PEM"),
            ("cert", "garbage", "tls-cert and tls-key cannot be used (no PEM); give a pair in PEM"),
            ("cert", "empty", "tls-cert and tls-key cannot be used (no PEM); give a pair in PEM"),
            ("key", "cert", "tls-cert and tls-key cannot be used (no PEM); give a pair in PEM"),
            ("cert", "other", "tls-cert and tls-key cannot be used (key values mismatch); give a pair in PEM"),
            ("cert", "encrypted", "tls-key is protected by a password; store it without one"),
        ],
    )
    def test_a_client_certificate_or_key_that_cannot_be_used_is_told(self, files, certificate, key, message):
        said = tls_complaint(tls_cert=files[certificate], tls_key=files[key])
        assert said.startswith(message.format(**files))

    def test_nobody_is_asked_for_a_password_at_the_terminal(self, files):
        script = (
            "import fcntl, sys, termios\n"
            "from controller.domain.errors import SourceUnavailable\n"
            "from sources.traefik_kv.network import NetworkOptions, TlsMaterial\n"
            "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
            "try: TlsMaterial(NetworkOptions(tls_cert=sys.argv[1], tls_key=sys.argv[2])).context()\n"
            "except SourceUnavailable as error: print(error)\n"
        )
        ours, terminal = os.openpty()
        try:
            done = subprocess.run(
                [sys.executable, "-c", script, files["cert"], files["encrypted"]],
                stdin=terminal,
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
                start_new_session=True,
            )
            os.write(terminal, b"end")
            assert os.read(ours, 1000) == b"end", "nothing was written there before"
        finally:
            os.close(ours)
            os.close(terminal)
        assert done.stdout == "tls-key is protected by a password; store it without one\n"


class TestTlsAnew:
    @pytest.fixture
    def material(self, files) -> TlsMaterial:
        return TlsMaterial(read_options(tls_ca=files["ca"], tls_cert=files["cert"], tls_key=files["key"]))

    def test_what_did_not_change_is_made_once(self, material):
        assert material.context() is material.context()

    def test_pem_is_made_once(self, files):
        material = TlsMaterial(read_options(tls_ca=Path(files["ca"]).read_text()))
        assert material.context() is material.context()

    @pytest.mark.parametrize("name", ["ca", "cert", "key"])
    def test_a_file_that_was_written_anew_or_replaced_makes_it_anew(self, files, material, name):
        path = Path(files[name])
        before = material.context()
        path.write_bytes(path.read_bytes() + b"\n")
        written = material.context()
        new = path.with_suffix(".new")
        new.write_bytes(path.read_bytes())
        new.replace(path)
        replaced = material.context()
        assert len({id(before), id(written), id(replaced)}) == 3
        assert material.context() is replaced

    def test_another_authority_is_trusted_from_then_on(self, files, material):
        assert issuers(material.context()) == 1
        with Path(files["ca"]).open("ab") as file:
            file.write(authority().intermediate_pem)
        assert issuers(material.context()) == 2

    def test_a_file_that_went_is_told_until_it_is_back(self, files, material):
        material.context()
        path = Path(files["key"])
        content = path.read_bytes()
        path.unlink()
        for _ in range(2):
            with pytest.raises(SourceUnavailable, match="does not exist"):
                material.context()
        path.write_bytes(content)
        assert material.context()


class TestAsFile:
    def test_a_file_is_read_by_us_so_that_openssl_never_opens_what_may_take_its_place(self, files):
        with as_file(files["key"]) as path:
            assert path.startswith("/proc/self/fd/")
            assert Path(path).read_bytes() == Path(files["key"]).read_bytes()

    def test_pem_is_a_file_as_long_as_it_is_needed_and_on_no_disk(self):
        with as_file(PEM) as path:
            assert path.startswith("/proc/self/fd/")
            assert Path(path).read_text() == PEM
            assert "memfd" in str(Path(path).readlink())
        assert not Path(path).exists()


def test_an_error_of_tls_without_a_reason_is_told_as_well():
    assert explain_tls(ssl.SSLError(1, "x")) == "no reason given"
