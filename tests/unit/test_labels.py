"""Labels: what a container's labels say, and every problem with them at once."""

from __future__ import annotations

import re
import shlex
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.domain.errors import LabelError
from controller.domain.target import ProbePort, Reload
from controller.labels import LABELS, NAMES, OLDER_DOMAIN, LabelSpec, is_opted_in, parse_labels

PROFILES = ("docker-mailserver", "mailu", "generic")
SOURCES = ("traefik", "nginx")
DOMAIN = {"certferry.domain": "mail.example.com"}


def parse(labels, sources=SOURCES):
    return parse_labels(labels, prefix="certferry.", profiles=PROFILES, sources=sources)


def parse_one(name, value):
    """The spec of a container with a domain and one more label."""
    return parse({**DOMAIN, f"certferry.{name}": value})


def problems(labels):
    with pytest.raises(LabelError) as caught:
        parse(labels)
    return list(caught.value.problems)


def problem_of(name, value):
    """The one problem of one label beside a good domain, without the label and value it begins with."""
    (problem,) = problems({**DOMAIN, f"certferry.{name}": value})
    if name in ("reload", "check"):  # of commands only the beginning is shown
        found = re.fullmatch(rf"certferry\.{name}=(['\"]).*?\1: (.*)", problem)
        assert found
        return found[2]
    start = f"certferry.{name}={value!r}: "
    assert problem.startswith(start)
    return problem.removeprefix(start)


def test_a_domain_alone_leaves_everything_to_the_profile():
    assert parse(DOMAIN) == LabelSpec(domains=("mail.example.com",))


@pytest.mark.parametrize("definition", LABELS, ids=lambda definition: definition.name)
def test_every_example_of_the_table_can_be_used_as_it_stands(definition):
    pairs = {"key-path": "cert-path", "cert-path": "key-path", "alt-key-path": "alt-cert-path", "alt-cert-path": "alt-key-path"}
    beside = {f"certferry.{pairs[definition.name]}": "/other"} if definition.name in pairs else {}
    if definition.name == "chain-path":
        beside = {"certferry.cert-path": "/one", "certferry.key-path": "/other"}
    parse({**DOMAIN, **beside, f"certferry.{definition.name}": definition.example}, sources=None)


def test_all_labels_together():
    labels = {
        "certferry.domain": "mail.example.com,imap.example.com",
        "certferry.profile": "generic",
        "certferry.cert-path": "/c",
        "certferry.key-path": "/k",
        "certferry.chain-path": "/chain",
        "certferry.combined-path": "/all",
        "certferry.alt-cert-path": "/c2",
        "certferry.alt-key-path": "/k2",
        "certferry.owner": "101:102",
        "certferry.mode": "0640",
        "certferry.reload": "doveadm reload; signal:HUP",
        "certferry.check": "doveconf -n",
        "certferry.user": "root",
        "certferry.probe": "993/imaps, 25/smtp",
        "certferry.key-type": "both",
        "certferry.source": "nginx, traefik",
        "certferry.allow-untrusted": "true",
        "certferry.pause": "true",
    }
    assert parse(labels) == LabelSpec(
        domains=("mail.example.com", "imap.example.com"),
        profile="generic",
        cert_path=PurePosixPath("/c"),
        key_path=PurePosixPath("/k"),
        chain_path=PurePosixPath("/chain"),
        combined_path=PurePosixPath("/all"),
        alt_cert_path=PurePosixPath("/c2"),
        alt_key_path=PurePosixPath("/k2"),
        owner=(101, 102),
        mode=0o640,
        reload=(Reload("exec", argv=("doveadm", "reload")), Reload("signal", signal="HUP")),
        check=("doveconf", "-n"),
        user="root",
        probe=(ProbePort(993, "imaps"), ProbePort(25, "smtp")),
        key_type="both",
        sources=("nginx", "traefik"),
        allow_untrusted=True,
        pause=True,
    )
    assert {label.removeprefix("certferry.") for label in labels} == set(NAMES)


def test_another_prefix_reads_other_labels():
    labels = {"mine.domain": "a.example", "certferry.domain": "b.example", "certferry.nonsense": "x"}
    assert parse_labels(labels, prefix="mine.", profiles=PROFILES, sources=None).domains == ("a.example",)


def test_labels_of_other_programs_are_not_looked_at():
    assert parse({**DOMAIN, "traefik.enable": "true", "certferryx": "1"}).domains == ("mail.example.com",)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({}, False),
        ({"traefik.enable": "true"}, False),
        ({"certferry": "x"}, False),
        (DOMAIN, True),
        ({"certferry.profile": "mailu"}, True),
        ({OLDER_DOMAIN: "a.example"}, True),
    ],
)
def test_any_label_of_ours_opts_in(labels, expected):
    assert is_opted_in(labels, "certferry.") is expected


def test_labels_without_a_domain_are_reported():
    assert problems({"certferry.profile": "mailu"}) == [
        "certferry.domain is missing; without it the container gets no certificate"
    ]


def test_an_empty_label_is_an_error_and_not_a_default():
    assert problems({"certferry.domain": " "}) == ["certferry.domain='': the label is empty; give it a value or remove it"]


def test_all_problems_are_told_at_once():
    found = problems(
        {
            "certferry.domian": "mail.example.com",
            "certferry.profile": "docker-mail-server",
            "certferry.mode": "rw",
            "certferry.key-path": "/k",
        }
    )
    assert found == [
        "certferry.domian='mail.example.com': unknown label; the nearest known is certferry.domain",
        "certferry.domain is missing; without it the container gets no certificate",
        "certferry.profile='docker-mail-server': unknown; the nearest known is docker-mailserver",
        "certferry.mode='rw': expected an octal mode such as 0600 or 0640",
        "certferry.key-path needs certferry.cert-path beside it",
    ]


def test_a_label_in_the_wrong_case_is_unknown_and_its_right_name_is_told():
    assert problems({**DOMAIN, "certferry.Cert_Path": "/x"}) == [
        "certferry.Cert_Path='/x': unknown label; the nearest known is certferry.cert-path"
    ]


def test_a_message_stays_on_one_line_whatever_the_label_holds():
    (problem,) = problems({**DOMAIN, "certferry.x\ny": "a\nb\x1b[2J" + "z" * 5000})
    assert problem.isprintable()
    assert len(problem) < 300


@pytest.mark.parametrize(
    ("text", "domains"),
    [
        ("Mail.Example.COM.", ("mail.example.com",)),
        ("a.example, b.example,,a.example", ("a.example", "b.example")),
        ("a.example b.example", ("a.example", "b.example")),
        ("*.example.com", ("*.example.com",)),
        ("localhost", ("localhost",)),
        ("bücher.example", ("xn--bcher-kva.example",)),
        ("*.BÜCHER.example", ("*.xn--bcher-kva.example",)),
    ],
)
def test_domains_are_written_as_they_stand_in_dns(text, domains):
    assert parse({"certferry.domain": text}) == LabelSpec(domains=domains)


def test_auto_asks_the_container_itself():
    assert parse({"certferry.domain": "Auto"}) == LabelSpec(auto=True)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("auto,a.example", "auto stands alone"),
        (",", "expected at least one name"),
        ("a..example", "'a..example' is no host name; expected one such as mail.example.com or *.example.com"),
        ("https://a.example", "'https://a.example' is no host name; expected one such as mail.example.com or *.example.com"),
        ("a.*.example", "'a.*.example' is no host name; expected one such as mail.example.com or *.example.com"),
        ("*", "'*' is no host name; expected one such as mail.example.com or *.example.com"),
        ("-a.example", "'-a.example' is no host name; expected one such as mail.example.com or *.example.com"),
        ("192.0.2.1", "'192.0.2.1' is an address; expected a host name, for certificates are chosen by name"),
        ("faß.example", "'faß.example' cannot be written in DNS with certainty; write its xn-- form"),
        ("ü..example", "'ü..example' cannot be written in DNS with certainty; write its xn-- form"),
    ],
)
def test_what_is_no_host_name_is_refused(text, problem):
    assert problems({"certferry.domain": text}) == [f"certferry.domain={text!r}: {problem}"]


def test_a_name_longer_than_dns_allows_is_refused():
    assert "is no host name" in problems({"certferry.domain": ".".join(["a" * 60] * 5)})[0]
    assert "is no host name" in problems({"certferry.domain": f"{'a' * 64}.example"})[0]


def test_the_label_of_the_older_tool_means_the_domain():
    assert parse({OLDER_DOMAIN: "mail.example.com"}) == parse(DOMAIN)
    assert parse({OLDER_DOMAIN: "b.example,a.example", "certferry.domain": "a.example,b.example"}).domains == (
        "a.example",
        "b.example",
    )


def test_two_different_domain_labels_contradict_each_other():
    assert problems({OLDER_DOMAIN: "b.example", **DOMAIN}) == [
        f"certferry.domain and {OLDER_DOMAIN} name different domains; remove one of them"
    ]


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("etc/cert.pem", "expected the absolute path of a file, such as /etc/ssl/mail/cert.pem"),
        ("/etc/ssl/", "expected the absolute path of a file, such as /etc/ssl/mail/cert.pem"),
        ("/etc/../shadow", "expected a path without . and .. in it"),
        ("/etc/./cert", "expected a path without . and .. in it"),
        ("/etc/ce\nrt", "expected a path without control characters, of at most 4095 characters"),
        ("/etc/ce\0rt", "expected a path without control characters, of at most 4095 characters"),
    ],
)
def test_a_path_that_could_lead_elsewhere_is_refused(path, problem):
    assert problem_of("combined-path", path) == problem


def test_a_path_may_hold_blanks_and_doubled_slashes():
    assert parse_one("combined-path", "//my certs//all.pem").combined_path == PurePosixPath("/my certs/all.pem")


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"cert-path": "/c"}, ["certferry.cert-path needs certferry.key-path beside it"]),
        ({"alt-cert-path": "/c"}, ["certferry.alt-cert-path needs certferry.alt-key-path beside it"]),
        ({"alt-key-path": "/c"}, ["certferry.alt-key-path needs certferry.alt-cert-path beside it"]),
        (
            {"chain-path": "/x", "combined-path": "/all"},
            ["certferry.chain-path needs certferry.cert-path and certferry.key-path beside it"],
        ),
        (
            {"cert-path": "/same", "key-path": "//same"},
            ["certferry.cert-path and certferry.key-path are in each other's way: /same and /same"],
        ),
        (
            {"cert-path": "/a", "key-path": "/a/key"},
            ["certferry.key-path and certferry.cert-path are in each other's way: /a/key and /a"],
        ),
    ],
)
def test_paths_must_go_together(labels, expected):
    assert problems({**DOMAIN, **{f"certferry.{name}": path for name, path in labels.items()}}) == expected


@pytest.mark.parametrize(("text", "mode"), [("0600", 0o600), ("640", 0o640), ("0o440", 0o440)])
def test_a_mode_is_octal(text, mode):
    assert parse_one("mode", text).mode == mode


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("0644", "others could read the private key; expected 0 as the last digit, such as 0640"),
        ("0040", "not even the owner could read the file; expected a mode such as 0600 or 0640"),
        ("4755", "expected an octal mode such as 0600 or 0640"),
        ("0680", "expected an octal mode such as 0600 or 0640"),
    ],
)
def test_a_mode_that_shows_the_key_to_others_or_to_nobody_is_refused(text, problem):
    assert problem_of("mode", text) == problem


@pytest.mark.parametrize("text", ["root:root", "101", "1:-1", "1:4294967295", "١:١"])
def test_an_owner_is_two_numbers(text):
    assert problem_of("owner", text) == "expected user and group as numbers, such as 101:101"


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("postfix reload", (("postfix", "reload"),)),
        ("postfix reload; doveadm reload;", (("postfix", "reload"), ("doveadm", "reload"))),
        ("postfix reload\ndoveadm reload\n", (("postfix", "reload"), ("doveadm", "reload"))),
        ("sh -c 'postfix reload; doveadm reload'", (("sh", "-c", "postfix reload; doveadm reload"),)),
        ('sh -c "a && b > /dev/null; c"; d', (("sh", "-c", "a && b > /dev/null; c"), ("d",))),
        (r"find /run -exec touch {} \;", (("find", "/run", "-exec", "touch", "{}", ";"),)),
        (r"""say 'it'\''s; fine' "a\"; b" """, (("say", "it's; fine", 'a"; b'),)),
        ("pkill -HUP ^nginx$", (("pkill", "-HUP", "^nginx$"),)),
    ],
)
def test_a_reload_is_argv_split_at_semicolons_outside_of_quotes(text, steps):
    assert parse_one("reload", text).reload == tuple(Reload("exec", argv=argv) for argv in steps)


@pytest.mark.parametrize("text", ["signal:USR2", "signal:SIGUSR2", "SIGNAL:usr2"])
def test_a_reload_may_be_a_signal_with_or_without_sig(text):
    assert parse_one("reload", text).reload == (Reload("signal", signal="USR2"),)


def test_a_reload_may_be_nothing_or_the_containers_own_business():
    assert parse_one("reload", "none").reload == ()
    assert parse_one("reload", "self").reload == (Reload("self", patience=20.0),)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("signal:KILL", "signal KILL would end or halt the container; expected one that reloads, such as signal:HUP"),
        ("signal:sigstop", "signal STOP would end or halt the container; expected one that reloads, such as signal:HUP"),
        ("signal:FOO", "expected the name of one signal, such as signal:HUP or signal:USR2"),
        ("signal:12", "expected the name of one signal, such as signal:HUP or signal:USR2"),
        ("signal: HUP", "expected the name of one signal, such as signal:HUP or signal:USR2"),
        ("postfix reload; none", "none stands alone"),
        ("self; postfix reload", "self stands alone"),
        ("; ;", "expected a command such as postfix reload"),
        ("''", "expected a command such as postfix reload"),
        ("sh -c 'a", "a quotation mark in it is not closed, or a backslash ends it"),
        ("a\0b", "expected a command without NUL characters"),
        ("a && b", "no shell runs this, so & has no meaning; separate commands by ; or write sh -c '…'"),
        ("kill $(pidof x)", "no shell runs this, so $( has no meaning; separate commands by ; or write sh -c '…'"),
        ("a 'b' > c", "no shell runs this, so > has no meaning; separate commands by ; or write sh -c '…'"),
    ],
)
def test_a_reload_that_cannot_be_meant_is_refused(text, problem):
    assert problem_of("reload", text) == problem


def test_a_check_is_one_command_or_none():
    assert parse_one("check", "postfix check").check == ("postfix", "check")
    assert parse_one("check", "none").check == ()
    assert problem_of("check", "a; b") == "expected one command; write sh -c '…' for several"


@pytest.mark.parametrize("text", ["root", "1000", "mail:mail", "0:0"])
def test_a_user_is_a_name_or_number_with_or_without_a_group(text):
    assert parse_one("user", text).user == text


def test_a_user_that_is_none_is_refused():
    assert problem_of("user", "a b") == "expected user or user:group, by name or number"


def test_probing_can_be_switched_off():
    assert parse_one("probe", "OFF").probe == "off"


def test_problems_of_the_port_list_are_told():
    assert "unknown protocol" in problem_of("probe", "993/imapss")


def test_a_source_must_exist_where_the_sources_are_known():
    assert problem_of("source", "traefic") == "unknown; the nearest known is traefik"
    assert parse({**DOMAIN, "certferry.source": "traefic"}, sources=None).sources == ("traefic",)
    assert parse_one("source", "nginx,traefik,nginx").sources == ("nginx", "traefik")


def test_without_any_source_none_can_be_named():
    with pytest.raises(LabelError, match="unknown; none is known"):
        parse({**DOMAIN, "certferry.source": "traefik"}, sources=())


@pytest.mark.parametrize(("text", "expected"), [("TRUE", True), ("1", True), ("no", False)])
def test_a_flag_is_yes_or_no(text, expected):
    assert parse_one("allow-untrusted", text).allow_untrusted is expected


@pytest.mark.parametrize(("text", "expected"), [("true", True), ("false", False)])
def test_a_container_is_paused_by_a_flag(text, expected):
    assert parse_one("pause", text).pause is expected


def test_words_outside_of_the_choice_are_refused():
    assert problem_of("allow-untrusted", "maybe") == "expected true or false"
    assert problem_of("key-type", "dsa") == "expected any, rsa, ecdsa or both"
    assert parse_one("key-type", "RSA").key_type == "rsa"


@given(
    st.dictionaries(
        st.sampled_from([OLDER_DOMAIN, *(f"certferry.{name}" for name in NAMES)]) | st.text().map("certferry.{}".format),
        st.text(),
    )
)
def test_whatever_the_labels_hold_the_only_error_is_a_label_error(labels):
    try:
        spec = parse(labels)
    except LabelError as error:
        assert error.problems  # noqa: PT017
    else:
        assert spec.domains or spec.auto


@given(st.sampled_from(["reload", "check"]), st.text(alphabet="ab ;'\"\\\n&$(`|signal:HUPself", min_size=1))
def test_a_command_of_any_signs_is_argv_or_a_label_error(name, text):
    try:
        spec = parse_one(name, text)
    except LabelError as error:
        assert error.problems  # noqa: PT017
    else:
        assert all(step.argv or step.kind != "exec" for step in spec.reload or ())


@given(st.lists(st.lists(st.text(alphabet="ab;'\" \\\n&é", min_size=1), min_size=1), min_size=1))
def test_quoted_arguments_come_through_unchanged(commands):
    steps = [("run", *arguments) for arguments in commands]
    text = "; ".join(shlex.join(step) for step in steps)
    assert parse_one("reload", text).reload == tuple(Reload("exec", argv=step) for step in steps)
