"""Labels that nobody in their right mind writes: each is refused in a message that has an end, in no time."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest

from controller.domain.errors import LabelError
from controller.domain.mail_ports import MOST_PROBLEMS, ProbeListError, parse_probe_list
from controller.label_values import LONGEST_DOMAINS, LONGEST_VALUE, MOST_DOMAINS
from controller.labels import MOST_UNKNOWN, NAMES, parse_labels

MIB = 2**20


def problems(labels: dict[str, str]) -> tuple[str, ...]:
    with pytest.raises(LabelError) as caught:
        parse_labels(
            {f"certferry.{name}": value for name, value in labels.items()},
            prefix="certferry.",
            profiles=("generic",),
            sources=("traefik",),
        )
    return caught.value.problems


@pytest.mark.parametrize(
    "unit", ["\\", '"', "'", "a ", "a,", ";", "a;", "\n", ".", "/a", "25/smtp,", "ä.", "1", "a\u0301\u0323", "x@", "$("]
)
def test_a_label_of_a_megabyte_is_refused_whatever_stands_in_it(unit):
    text = f"a{unit * (MIB // len(unit))}a"
    begin = time.process_time()
    told = problems(dict.fromkeys(NAMES, text))
    spent = time.process_time() - begin
    assert [line.partition("=")[0] for line in told] == [f"certferry.{name}" for name in _in_order(NAMES)]
    assert f"{len(text):,} characters long; expected at most {LONGEST_VALUE:,}" in " ".join(told)
    assert all(len(line) < 1000 for line in told)
    assert spent < 1.0  # measured: 0.01 s; without the limit more than 40 s


def _in_order(names):
    """As they are read."""
    paths = [name for name in names if name.endswith("-path")]
    first = ["domain", "profile", *paths]
    return [
        *first,
        *(
            name
            for name in ("owner", "mode", "reload", "check", "user", "probe", "key-type", "source", "allow-untrusted", "pause")
        ),
    ]


@pytest.mark.parametrize("unit", ["\\", "\\a", "'a' ", '"\\""', "a ", "a;", "a\n", "#", "''", '""'])
@pytest.mark.parametrize("name", ["reload", "check"])
def test_a_command_as_long_as_may_be_is_read_in_no_time(unit, name):
    text = "sh" + unit * ((LONGEST_VALUE - 4) // len(unit))
    begin = time.process_time()
    with suppress(LabelError):  # some of them are no commands
        parse_labels({"certferry.domain": "auto", f"certferry.{name}": text}, prefix="certferry.", profiles=(), sources=None)
    assert time.process_time() - begin < 1.0  # measured: up to 0.02 s


def test_as_many_domains_as_one_certificate_may_have_are_read():
    names = [f"{'a' * 60}.{'b' * 60}.{'c' * 60}.{number:050}.example.com" for number in range(100)]
    text = ",".join(names)
    assert len(text) <= LONGEST_DOMAINS
    assert parse_labels({"certferry.domain": text}, prefix="certferry.", profiles=(), sources=None).domains == tuple(names)


def test_a_list_of_a_hundred_thousand_domains_is_refused():
    (told,) = problems({"domain": ",".join(f"a{number}.example.com" for number in range(100_000))})
    assert told.endswith(f"characters long; expected at most {LONGEST_DOMAINS:,}")


def test_more_names_than_fit_into_one_certificate_are_refused():
    names = [f"a{number}.example.com" for number in range(MOST_DOMAINS + 1)]
    most = parse_labels({"certferry.domain": ",".join(names[1:])}, prefix="certferry.", profiles=(), sources=None)
    assert most.domains == tuple(names[1:])
    (told,) = problems({"domain": ",".join(names)})
    assert told.endswith("expected at most 250 names: one certificate must cover them all")


def test_a_name_that_is_no_host_name_is_told_with_its_beginning_only():
    (told,) = problems({"domain": "ä" * 30_000})
    assert "is no host name" in told
    assert len(told) < 500


def test_of_thousands_of_unknown_labels_some_are_told_and_the_others_are_counted():
    begin = time.process_time()
    told = problems({"domain": "auto", **{f"x{number}": "1" for number in range(3000)}})
    assert len(told) == MOST_UNKNOWN + 1
    assert told[0].startswith("certferry.x0='1': unknown label; the nearest known is certferry.")
    assert told[-1] == "2,980 more labels that begin with certferry. are unknown; remove them"
    assert time.process_time() - begin < 1.0  # measured: 0.02 s; 1.3 s when each was looked for


def test_an_unknown_label_with_an_endless_name_is_told_with_its_beginning():
    (told,) = problems({"domain": "auto", "x" * MIB: "y" * MIB})
    assert len(told) < 500


def test_a_probe_list_with_thousands_of_mistakes_names_some_of_them():
    with pytest.raises(ProbeListError) as caught:
        parse_probe_list(",".join(f"{number}/smpt" for number in range(1, 50_000)))
    assert len(caught.value.problems) == MOST_PROBLEMS + 1
    assert caught.value.problems[-1] == "and more of that kind"


def test_a_mistake_in_a_probe_list_is_told_with_its_beginning_only():
    with pytest.raises(ProbeListError) as caught:
        parse_probe_list(f"25/{'x' * MIB}")
    assert len(str(caught.value)) < 500


def test_paths_of_thousands_of_folders_are_compared_in_no_time():
    path = "/a" * 2000
    begin = time.process_time()
    told = problems({"domain": "auto", "cert-path": f"{path}/c", "key-path": f"{path}/c/k"})
    assert "are in each other's way" in told[0]
    assert time.process_time() - begin < 1.0  # measured: 0.01 s
