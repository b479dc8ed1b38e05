"""What a running docker-mailserver answers, and what becomes of its layout by that."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import pytest

from controller.domain.container import Container, Mount, State
from controller.domain.detector import Detector
from controller.domain.errors import LabelError, TargetNotRunning
from controller.domain.observed import InstalledFile, Observed
from controller.domain.profile import Layout
from controller.domain.target import Place, Slot
from sinks.profiles.docker_mailserver import DOCKER_MAILSERVER
from sinks.profiles.docker_mailserver.asking import MOST, Used, read
from tests.unit.sinks.test_docker_mailserver import CONFIG, LETSENCRYPT, MANUAL, mail, mounted, place

LIVE, ACME = "/etc/letsencrypt/live", "/etc/letsencrypt/acme.json"
HOST, DOMAIN = f"{LIVE}/mail.example.com", f"{LIVE}/example.com"
INSIDE = place("/etc/dms/tls/cert", "/etc/dms/tls/key")
SETTINGS = """smtpd_tls_chain_files = /etc/dms/tls/key /etc/dms/tls/cert
smtpd_tls_cert_file =
smtpd_tls_key_file =
key /etc/dms/tls/key
ssl_cert = </etc/dms/tls/cert
ssl_key = </etc/dms/tls/key
"""
RUNS = f"detector\nDMS_CONFIG_POLL='2'\n{SETTINGS}"
SNAKEOIL = "/etc/ssl/private/ssl-cert-snakeoil.key /etc/ssl/certs/ssl-cert-snakeoil.pem"
SHIPPED = f"""smtpd_tls_chain_files = {SNAKEOIL}
ssl_cert = </etc/dovecot/private/dovecot.pem
ssl_key = </etc/dovecot/private/dovecot.key
"""


def path(text: str) -> PurePosixPath:
    return PurePosixPath(text)


def used(service: str, key: str, certificate: str, **more: Any) -> Used:
    return Used(service, path(key), path(certificate), **more)


class TestTheAnswers:
    def test_are_read_in_any_order(self):
        lines = RUNS.splitlines()
        assert read(RUNS) == read("\n".join(sorted(lines)))
        assert read(RUNS).used == (
            used("Postfix", "/etc/dms/tls/key", "/etc/dms/tls/cert"),
            used("Dovecot", "/etc/dms/tls/key", "/etc/dms/tls/cert"),
        )

    def test_tell_of_processes_files_and_pauses(self):
        found = read("starting\ndetector\nacme.json\nDMS_CONFIG_POLL='0.5'\n")
        assert (found.starting, found.detector, found.acme_json, found.poll) == (True, True, True, "0.5")
        assert read("") == read("nonsense\nssl_cert\n= </x\nDMS_CONFIG_POLL")

    def test_hold_the_checksums_of_the_detector(self):
        assert read(f"{'a' * 128}  /tls/cert.pem\n{'b' * 127}  /tls/key.pem").sums == {path("/tls/cert.pem"): "a" * 128}

    def test_are_read_up_to_a_limit(self):
        assert not read("x" * MOST + "\ndetector\n").detector

    @pytest.mark.parametrize(
        ("chain", "keys", "expected"),
        [
            ("/k /c", "/k", [("/k", "/c", False)]),
            ("/k, /c", "", [("/k", "/c", False)]),
            ("/all", "/all", [("/all", "/all", False)]),
            ("/all", "", [("/all", "/all", False)]),
            ("/ecdsa,/rsa", "/ecdsa /rsa", [("/ecdsa", "/ecdsa", False), ("/rsa", "/rsa", True)]),
            ("/k /c /k2 /c2", "/k /k2", [("/k", "/c", False), ("/k2", "/c2", True)]),
            ("/k /c /k2 /c2", "", [("/k", "/c", False), ("/k2", "/c2", True)]),
            ("/a /b /c", "/a /b /c", [("/a", "/a", False), ("/b", "/b", True)]),
            ("relative", "", []),
            ("", "", []),
        ],
    )
    def test_name_the_chain_files_of_postfix_key_first(self, chain, keys, expected):
        text = "\n".join([f"smtpd_tls_chain_files = {chain}", *(f"key {key}" for key in keys.split())])
        assert read(text).used == tuple(used("Postfix", k, c, alternative=second) for k, c, second in expected)

    def test_may_name_a_file_for_the_rest_of_the_chain(self):
        (found,) = read("smtpd_tls_chain_files = /k /leaf /issuers\nkey /k").used
        assert found == used("Postfix", "/k", "/leaf", chain=path("/issuers"))

    @pytest.mark.parametrize(
        ("lines", "expected"),
        [
            (["smtpd_tls_cert_file = /c", "smtpd_tls_key_file = /k"], [used("Postfix", "/k", "/c")]),
            (["smtpd_tls_cert_file = /c", "smtpd_tls_key_file = "], [used("Postfix", "/c", "/c")]),
            (["smtpd_tls_chain_files = /k /x", "smtpd_tls_cert_file = /c"], [used("Postfix", "/k", "/x")]),
            (["submission/inet/smtpd_tls_chain_files = /s"], [used("Postfix (submission/inet)", "/s", "/s")]),
            (
                ["587/inet/smtpd_tls_cert_file = /c", "587/inet/smtpd_tls_key_file = /k"],
                [used("Postfix (587/inet)", "/k", "/c")],
            ),
            (
                ["smtpd_tls_chain_files = /k /c", "587/inet/smtpd_tls_chain_files = ", "587/inet/smtpd_tls_cert_file = /x"],
                [used("Postfix", "/k", "/c"), used("Postfix (587/inet)", "/x", "/x")],
            ),
            (
                ["smtpd_tls_cert_file = /c", "smtpd_tls_key_file = /k", "587/inet/smtpd_tls_cert_file = /x"],
                [used("Postfix", "/k", "/c"), used("Postfix (587/inet)", "/k", "/x")],
            ),
            (
                ["smtpd_tls_cert_file = /c", "smtpd_tls_key_file = /c", "587/inet/smtpd_tls_cert_file = /x"],
                [used("Postfix", "/c", "/c"), used("Postfix (587/inet)", "/x", "/x")],
            ),
            (
                ["smtpd_tls_cert_file = /c", "smtpd_tls_eccert_file = /e", "smtpd_tls_eckey_file = /f"],
                [used("Postfix", "/c", "/c"), used("Postfix", "/f", "/e", alternative=True)],
            ),
            (["smtpd_tls_cert_file = ", "smtpd_tls_eccert_file = /e"], [used("Postfix", "/e", "/e")]),
            (["smtpd_tls_cert_file = none", "587/inet/smtpd_tls_security_level = may"], []),
            (["smtpd_tls_chain_files = /k /c", "587/inet/smtpd_tls_cert_file = /x"], [used("Postfix", "/k", "/c")]),
        ],
        ids=[
            "the older pair",
            "one file",
            "chain files win",
            "of a service",
            "an older pair of a service",
            "a service without chain files",
            "its key is the main one",
            "its key is its own",
            "two key types",
            "only the second",
            "a word that is no path",
            "none",
        ],
    )
    def test_name_what_else_postfix_is_set_to(self, lines, expected):
        assert read("\n".join(lines)).used == tuple(expected)

    def test_name_the_pairs_of_both_dovecots(self):
        older = "ssl_cert = </c\nssl_key = </k\nssl_alt_cert = </c2\nssl_alt_key = </k2"
        newer = "ssl_server_cert_file = /c\nssl_server_key_file = /k\n"
        assert read(older).used == (used("Dovecot", "/k", "/c"), used("Dovecot", "/k2", "/c2", alternative=True))
        assert read(newer).used == (used("Dovecot", "/k", "/c"),)

    def test_say_where_a_setting_holds_the_key_itself(self):
        found = read("ssl_cert = </c\nssl_key = !")
        assert (found.used, found.inline) == ((), ("ssl_key",))


def installed(*names: str, content: bytes = b"x") -> dict[PurePosixPath, InstalledFile | None]:
    return {path(name): InstalledFile(path(name), content, 0, 0, 0o600) for name in names}


def adapted(container: Container, *names: str, answers: str = "", content: bytes = b"x") -> Layout:
    """The layout of a container in which there are files, once it was asked."""
    layout = DOCKER_MAILSERVER.layout(container)
    looked_at = (*layout.beside, *(p for place in (*layout.places, *layout.internal) for p in place.paths))
    observed = Observed({**dict.fromkeys(looked_at), **installed(*names, content=content)}, answers=answers)
    return DOCKER_MAILSERVER.adapt(container, layout, observed)


class TestManual:
    def test_stays_as_it_is_where_the_services_use_the_copies(self):
        layout = DOCKER_MAILSERVER.layout(mail(MANUAL))
        found = adapted(mail(MANUAL), answers=RUNS)
        assert replace(found, detector=None) == layout

    def test_where_nothing_was_asked_all_stays(self):
        assert adapted(mail(MANUAL)) == DOCKER_MAILSERVER.layout(mail(MANUAL))

    def test_a_place_of_the_operators_own_gets_the_certificate_too(self):
        found = adapted(mail(MANUAL), answers=f"{RUNS}465/inet/smtpd_tls_chain_files = /own/all.pem")
        assert found.also == (Place(Slot(), combined=path("/own/all.pem")),)
        assert found.notes == ("Postfix (465/inet) is set to use /own/all.pem: it gets the certificate there, too",)

    def test_it_is_named_once_whoever_uses_it(self):
        answers = "smtpd_tls_chain_files = /own/key /own/cert\nssl_cert = </own/cert\nssl_key = </own/key"
        assert adapted(mail(MANUAL), answers=answers).also == (place("/own/cert", "/own/key"),)

    def test_while_it_starts_its_configuration_says_nothing(self):
        found = adapted(mail(MANUAL), answers=f"starting\nsmtpd_tls_chain_files = {SNAKEOIL}x")
        assert (found.also, found.notes) == ((), ())

    def test_what_the_image_ships_is_none_of_the_operators(self):
        assert adapted(mail(MANUAL), answers=SHIPPED).also == ()

    @pytest.mark.parametrize(
        ("answer", "who"),
        [("local_name", "local_name of Dovecot"), ("tls_server_sni_maps = texthash:/x", "tls_server_sni_maps of Postfix")],
    )
    def test_certificates_for_single_names_are_told(self, answer, who):
        assert adapted(mail(MANUAL), answers=f"{RUNS}{answer}").notes == (
            f"{who} names certificates for single names: certferry does not renew those",
        )
        assert adapted(mail(MANUAL), answers=f"{RUNS}tls_server_sni_maps =").notes == ()

    def test_a_file_of_the_operators_own_beside_what_dovecot_ships_is_his(self):
        own = "ssl_cert = </etc/dovecot/private/mail.pem\nssl_key = </etc/dovecot/private/mail.key"
        assert adapted(mail(MANUAL), answers=own).also == (
            place("/etc/dovecot/private/mail.pem", "/etc/dovecot/private/mail.key"),
        )

    def test_a_key_in_the_configuration_itself_is_told(self):
        found = adapted(mail(MANUAL), answers="ssl_cert = </c\nssl_key = !")
        assert found.notes == ("ssl_key of Dovecot holds no path; it cannot be renewed there",)


class TestReadOnlyOriginals:
    THERE = mail(MANUAL, mounts=mounted("/tls", writable=False))
    NAMES = ("/tls/cert.pem", "/tls/key.pem")
    SEEN = "".join(f"{hashlib.sha512(b'x').hexdigest()}  {name}\n" for name in NAMES)

    def test_are_looked_at_and_the_copies_are_written(self):
        assert adapted(self.THERE).places == (INSIDE,)
        assert adapted(self.THERE, *self.NAMES, answers=f"{RUNS}{self.SEEN}").places == (INSIDE,)

    def test_that_another_has_just_replaced_are_left_to_the_detector(self):
        found = adapted(self.THERE, *self.NAMES, answers=RUNS)
        assert (found.places, found.internal) == ((place(*self.NAMES),), (INSIDE,))
        assert (found.reload[0].kind, found.written_by != "") == ("self", True)

    @pytest.mark.parametrize(("names", "answers"), [(NAMES, SETTINGS), ((), RUNS)], ids=["no detector", "no files"])
    def test_are_not_waited_for_in_vain(self, names, answers):
        assert adapted(self.THERE, *names, answers=answers).places == (INSIDE,)

    def test_that_can_be_written_are_certferrys(self):
        assert not adapted(mail(MANUAL), *self.NAMES, answers=RUNS).written_by


class TestLetsEncrypt:
    @pytest.mark.parametrize(
        ("names", "expected"),
        [
            ((), (HOST, "privkey.pem")),
            ((f"{HOST}/fullchain.pem", f"{HOST}/privkey.pem"), (HOST, "privkey.pem")),
            ((f"{HOST}/fullchain.pem", f"{HOST}/key.pem"), (HOST, "key.pem")),
            ((f"{HOST}/fullchain.pem", f"{HOST}/key.pem", f"{HOST}/privkey.pem"), (HOST, "privkey.pem")),
            ((f"{HOST}/fullchain.pem",), (HOST, "privkey.pem")),
            ((f"{DOMAIN}/fullchain.pem", f"{DOMAIN}/key.pem"), (DOMAIN, "key.pem")),
            ((f"{DOMAIN}/fullchain.pem", f"{HOST}/key.pem"), (DOMAIN, "privkey.pem")),
        ],
    )
    @pytest.mark.parametrize("answers", ["", "detector\n"])
    def test_the_files_are_those_that_the_start_script_finds(self, names, expected, answers):
        directory, key = expected
        found = adapted(mail(LETSENCRYPT), *names, answers=answers)
        assert (found.places, found.also) == ((place(f"{directory}/fullchain.pem", f"{directory}/{key}"),), ())

    def test_its_own_domain_comes_first(self):
        wild = mail(LETSENCRYPT | {"SSL_DOMAIN": "*.example.com"})
        both = (f"{HOST}/fullchain.pem", f"{HOST}/key.pem", f"{DOMAIN}/fullchain.pem", f"{DOMAIN}/key.pem")
        assert adapted(wild, *both).places == (place(f"{DOMAIN}/fullchain.pem", f"{DOMAIN}/key.pem"),)

    def test_what_is_in_use_stays_right_beside_what_the_next_start_takes(self):
        answers = f"smtpd_tls_chain_files = {HOST}/key.pem {HOST}/fullchain.pem"
        found = adapted(mail(LETSENCRYPT), f"{HOST}/fullchain.pem", f"{HOST}/key.pem", f"{HOST}/privkey.pem", answers=answers)
        assert found.places == (place(f"{HOST}/fullchain.pem", f"{HOST}/privkey.pem"),)
        assert found.also == (place(f"{HOST}/fullchain.pem", f"{HOST}/key.pem"),)

    def test_the_parent_domain_of_a_short_host_name_is_itself(self):
        short = mail(LETSENCRYPT, hostname="example.com")
        assert adapted(short, f"{DOMAIN}/fullchain.pem", f"{DOMAIN}/key.pem").places[0].key == path(f"{DOMAIN}/key.pem")


def with_acme(state: State = State.RUNNING, **changes: Any) -> Container:
    return mail(LETSENCRYPT, mounts=mounted(ACME, writable=False), state=state, **changes)


EXTRACTED = (f"{HOST}/fullchain.pem", f"{HOST}/key.pem")


class TestItsOwnExtraction:
    @pytest.mark.parametrize("answers", ["acme.json\ndetector", "acme.json\nstarting"])
    def test_certferry_writes_nothing_while_it_works(self, answers):
        found = adapted(with_acme(), *EXTRACTED, answers=answers)
        assert found.places == (place(*EXTRACTED),)
        assert found.written_by == f"docker-mailserver itself, from {ACME}"
        (note,) = found.notes
        assert note.endswith(f"to let certferry do it, remove the mount at {ACME}")

    @pytest.mark.parametrize(
        ("state", "tag", "writes"),
        [
            (State.CREATED, "15.1.0", False),
            (State.PAUSED, "15.1.0", False),
            (State.PAUSED, "10.4.0", True),
            (State.EXITED, "15.1.0", True),
            (State.RESTARTING, "15.1.0", True),
        ],
    )
    def test_of_a_container_that_does_not_run_the_mount_and_the_state_tell(self, state, tag, writes):
        found = adapted(with_acme(state, tag=tag))
        assert found.places == (place(*EXTRACTED),)
        assert bool(found.written_by) is not writes

    def test_certferry_is_the_one_writer_where_the_detector_does_not_run(self):
        found = adapted(with_acme(), *EXTRACTED, answers="acme.json")
        assert (found.places, found.written_by) == ((place(*EXTRACTED),), "")
        assert found.notes == (
            f"docker-mailserver's change detector does not run, so certferry writes what it extracts from {ACME}",
        )

    def test_a_key_that_stands_before_the_extracted_one_is_kept_right(self):
        found = adapted(with_acme(), *EXTRACTED, f"{HOST}/privkey.pem", answers="acme.json\ndetector")
        assert (found.places[0].key, found.written_by) == (path(f"{HOST}/privkey.pem"), "")
        assert found.notes[0].startswith(f"{HOST}/privkey.pem stands before the key")

    def test_the_folder_mounted_is_not_the_file_mounted(self):
        folder = mail(LETSENCRYPT, mounts=(Mount("bind", "/srv", path("/etc/letsencrypt"), True),), state=State.CREATED)
        assert not adapted(folder).written_by


class TestSelfSigned:
    SELF = mail({"SSL_TYPE": "self-signed"})
    CHAIN, AUTHORITY = f"{CONFIG}/mail.example.com-cert.pem", f"{CONFIG}/demoCA/cacert.pem"
    TOO = (Place(Slot(), certificate=path(AUTHORITY)),)

    def test_its_authority_is_given_where_it_is_missing(self):
        assert adapted(self.SELF).also == self.TOO

    def test_it_is_kept_where_it_is_certferrys(self):
        assert adapted(self.SELF, self.CHAIN, self.AUTHORITY).also == self.TOO

    @pytest.mark.parametrize("names", [(AUTHORITY,), (AUTHORITY, CHAIN)])
    def test_the_operators_own_is_left_alone(self, names):
        layout = DOCKER_MAILSERVER.layout(self.SELF)
        files = installed(self.AUTHORITY, content=b"theirs") | (installed(self.CHAIN) if len(names) > 1 else {})
        looked_at = {**dict.fromkeys(p for each in (*layout.places, *layout.internal) for p in each.paths), **files}
        assert DOCKER_MAILSERVER.adapt(self.SELF, layout, Observed(looked_at)).also == ()

    def test_on_a_read_only_mount_only_the_copies_are_written(self):
        there = replace(self.SELF, mounts=mounted("/tmp/docker-mailserver", writable=False))
        found = adapted(there)
        assert (found.places[0].certificate, found.also) == (path("/etc/dms/tls/mail.example.com-cert.pem"), ())


class TestWithoutAType:
    OWN = "smtpd_tls_chain_files = /own/all.pem\nssl_cert = </own/cert\nssl_key = </own/key\n"

    @pytest.mark.parametrize("ssl_type", ["", "snakeoil"])
    def test_the_files_are_those_that_the_services_name(self, ssl_type):
        found = adapted(mail({"SSL_TYPE": ssl_type}), answers=SHIPPED.splitlines()[1] + "\n" + self.OWN)
        assert found.places == (Place(Slot(), combined=path("/own/all.pem")),)
        assert found.also == (place("/own/cert", "/own/key"),)

    def test_a_second_pair_has_the_second_place(self):
        found = adapted(mail(), answers="smtpd_tls_chain_files = /ecdsa /rsa\nkey /ecdsa\nkey /rsa")
        assert [p.combined for p in found.places] == [path("/ecdsa"), path("/rsa")]
        assert found.also == ()

    def test_one_that_is_only_called_alternative_is_the_first(self):
        found = adapted(mail(), answers="ssl_alt_cert = </c\nssl_alt_key = </k")
        assert (len(found.places), found.also) == (1, ())

    @pytest.mark.parametrize(
        ("answers", "problem"),
        [
            (SHIPPED, "SSL_TYPE is not set, so docker-mailserver offers no TLS of its own: set SSL_TYPE=manual, SSL_CERT_PATH"),
            ("", "SSL_TYPE is not set: which files its services use can be asked only while it runs"),
            ("ssl_cert = !\nssl_key = !", "SSL_TYPE is not set, and ssl_cert, ssl_key holds no path; name files there"),
        ],
    )
    def test_without_any_it_is_told_why(self, answers, problem):
        with pytest.raises(LabelError) as caught:
            adapted(mail(), answers=answers)
        assert caught.value.problems[0].startswith(problem)

    @pytest.mark.parametrize(("age", "early"), [(0.0, True), (4.9, True), (5.0, False), (None, False)])
    def test_in_the_first_moments_its_start_has_not_even_begun(self, age, early):
        found = adapted(mail(MANUAL, age=age), answers=SETTINGS)
        assert found.starting is early
        assert not adapted(mail(MANUAL, age=age), answers=RUNS).starting

    def test_services_that_do_not_answer_are_asked_again(self):
        with pytest.raises(
            TargetNotRunning, match="neither Postfix nor Dovecot says which files it uses: they are asked again"
        ):
            adapted(mail(), answers="detector\n")

    def test_while_it_starts_it_is_too_early_to_tell(self):
        with pytest.raises(TargetNotRunning, match="still starting"):
            adapted(mail(), answers=f"starting\n{SHIPPED}")


class TestTheDetector:
    CERT, KEY = "/tls/cert.pem", "/tls/key.pem"
    SUM = hashlib.sha512(b"x").hexdigest()

    def test_that_does_not_run_does_nothing(self):
        assert adapted(mail(MANUAL), self.CERT, answers=SETTINGS).detector == Detector()

    def test_of_an_early_version_did_not_look_at_certificates(self):
        assert adapted(mail(MANUAL, tag="10.4.0"), self.CERT, answers=RUNS).detector == Detector()

    def test_looks_at_the_originals_and_knows_what_it_saw(self):
        answers = f"{RUNS}{self.SUM}  {self.CERT}\n{'0' * 128}  {self.KEY}"
        detector = adapted(mail(MANUAL), self.CERT, self.KEY, answers=answers).detector
        assert detector == Detector(20.0, frozenset({path(self.CERT), path(self.KEY)}), frozenset({path(self.CERT)}), poll=2.0)

    @pytest.mark.parametrize(
        ("recorded", "acted"),
        [
            ("recorded 100 103", True),
            ("recorded 100 104", False),
            ("recorded  100", False),
            ("", False),
            ("recorded 103 100", True),
        ],
    )
    def test_acted_where_its_record_is_new(self, recorded, acted):
        detector = adapted(mail(MANUAL), self.CERT, answers=f"{RUNS}{recorded}").detector
        assert detector is not None
        assert detector.acted is acted

    def test_knows_files_as_they_are_written_and_certferry_how_they_are_meant(self):
        odd = mail(MANUAL | {"SSL_CERT_PATH": "/tls//./cert.pem"})
        assert "/tls//./cert.pem" in DOCKER_MAILSERVER.layout(odd).ask
        detector = adapted(odd, self.CERT, self.KEY, answers=f"{RUNS}{self.SUM}  /tls//./cert.pem").detector
        assert detector is not None
        assert detector.watched == {path(self.CERT), path(self.KEY)}
        assert detector.seen == {path(self.CERT)}

    @pytest.mark.parametrize("busy", [True, False])
    def test_is_at_a_change_while_its_lock_is_there(self, busy):
        detector = adapted(mail(MANUAL), self.CERT, answers=f"{RUNS}{'busy' if busy else ''}").detector
        assert detector is not None
        assert detector.busy is busy

    def test_has_not_seen_what_is_not_there(self):
        detector = adapted(mail(MANUAL), answers=f"{RUNS}{self.SUM}  {self.CERT}").detector
        assert detector is not None
        assert detector.seen == frozenset()

    @pytest.mark.parametrize(
        ("poll", "environment", "patience"), [("'5'", {}, 23.0), ("", {"DMS_CONFIG_POLL": "7"}, 25.0), ("'300'", {}, 0.0)]
    )
    def test_looks_as_often_as_it_says(self, poll, environment, patience):
        detector = adapted(mail(MANUAL | environment), answers=f"detector\nDMS_CONFIG_POLL={poll}").detector
        assert detector is not None
        assert detector.patience == patience

    @pytest.mark.parametrize(
        ("environment", "watched"),
        [
            ({}, True),
            ({"OVERRIDE_HOSTNAME": "mx.example.com"}, True),
            ({"SSL_DOMAIN": "*.example.org"}, False),
            ({"SSL_DOMAIN": "example.org"}, True),
            ({"SSL_DOMAIN": "*.example.com"}, True),
        ],
        ids=["host name", "overridden", "wildcard of another domain", "other domain", "wildcard of its own domain"],
    )
    def test_looks_at_the_folders_of_its_names_as_they_are_written(self, environment, watched):
        detector = adapted(mail(LETSENCRYPT | environment), answers="detector").detector
        assert detector is not None
        assert bool(detector.watched) is watched

    @pytest.mark.parametrize(
        ("said", "seen_by_content", "seen"),
        [("", True, False), ("acme.json seen\n", True, True), ("acme.json seen\n", False, False)],
    )
    def test_that_extracts_looks_at_what_it_extracts_from(self, said, seen_by_content, seen):
        sums = "".join(f"{self.SUM}  {name}\n" for name in EXTRACTED) if seen_by_content else ""
        detector = adapted(with_acme(), *EXTRACTED, answers=f"acme.json\ndetector\n{said}{sums}").detector
        assert detector is not None
        assert detector.watched == {path(name) for name in EXTRACTED}
        assert detector.seen == (detector.watched if seen else frozenset())

    @pytest.mark.parametrize(("said", "seen"), [("", False), ("acme.json seen\n", True)])
    def test_that_extracts_a_wildcards_pair_puts_it_where_it_does_not_look(self, said, seen):
        wild = mail(LETSENCRYPT | {"SSL_DOMAIN": "*.example.org"}, mounts=mounted(ACME, writable=False))
        names = (f"{LIVE}/example.org/fullchain.pem", f"{LIVE}/example.org/key.pem")
        detector = adapted(wild, *names, answers=f"acme.json\ndetector\n{said}").detector
        assert detector is not None
        assert detector.watched == {path(name) for name in names}
        assert detector.seen == (detector.watched if seen else frozenset())

    @pytest.mark.parametrize("ssl_type", ["self-signed", "custom"])
    def test_looks_at_no_other_types(self, ssl_type):
        detector = adapted(mail({"SSL_TYPE": ssl_type}), answers="detector").detector
        assert detector is not None
        assert detector.watched == frozenset()
