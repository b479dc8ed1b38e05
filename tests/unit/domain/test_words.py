"""The vocabulary: reasons, conditions, errors, what a command printed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.domain import errors
from controller.domain.condition import Condition
from controller.domain.execution import ExecResult
from controller.domain.finding import MEANING, Finding, Reason
from controller.domain.snapshot import Entry, Snapshot
from tests.unit.made import NOW, certificate


def test_every_reason_has_a_meaning_and_a_remedy():
    assert MEANING.keys() == set(Reason)
    assert all(meaning and remedy for meaning, remedy in MEANING.values())


def test_a_reason_is_a_word_in_camel_case():
    assert all(reason.isalpha() and reason[0].isupper() for reason in Reason)


def test_a_finding_reads_as_reason_and_sentence():
    assert str(Finding(Reason.EXPIRED, "it has ended")) == "Expired: it has ended"


class TestConditions:
    HERE = Condition(False, Reason.EXPIRED, "since Monday", NOW)

    def test_with_the_same_reason_say_the_same_whatever_the_words(self):
        assert self.HERE.says_the_same(replace(self.HERE, message="since Tuesday"))

    @pytest.mark.parametrize("other", [Condition(True, None, "", NOW), Condition(False, Reason.WEAK_KEY, "", NOW), None])
    def test_with_another_reason_do_not(self, other):
        assert not self.HERE.says_the_same(other)


def test_each_error_is_the_operators_business_or_passes_or_stays():
    kinds = (errors.ConfigError, errors.TransientError, errors.PermanentError)
    own = [thing for thing in vars(errors).values() if isinstance(thing, type) and thing is not errors.Error]
    assert [sum(issubclass(error, kind) for kind in kinds) for error in own] == [1] * len(own)


def test_wrong_labels_are_told_all_at_once():
    error = errors.LabelError(("one is wrong", "so is two"))
    assert (str(error), error.problems) == ("one is wrong; so is two", ("one is wrong", "so is two"))


@pytest.mark.parametrize(
    ("stdout", "stderr", "tail"),
    [
        (b"", b"", "no output"),
        (b"all is well\n", b"", "all is well"),
        (b"all is well\n", b"warning\nfatal: no such file\n", "fatal: no such file"),
        (b"\n", b" \n", "no output"),
        (b"", b"\xff\n", "\ufffd"),
        (b"", b"x" * 1000, "x" * 300),
    ],
)
def test_of_a_commands_output_the_last_line_is_told(stdout, stderr, tail):
    assert ExecResult(1, stdout, stderr).tail == tail


@pytest.mark.parametrize(
    ("stderr", "complaint"), [(b"", "exit code 1"), (b"warning\ncannot open it\n", "cannot open it"), (b"\n", "exit code 1")]
)
def test_a_command_that_prints_files_is_quoted_by_its_error_output_alone(stderr, complaint):
    assert ExecResult(1, b"-----BEGIN PRIVATE KEY-----\n", stderr).complaint == complaint


def test_a_snapshot_finds_its_entries_by_every_name():
    both, wild = Entry("a", certificate("a.example.com", "b.example.com")), Entry("b", certificate("*.example.com"))
    more = Entry("c", certificate("a.example.com"))
    held = Snapshot("traefik", (both, wild, more))

    assert held.by_name == {"a.example.com": (both, more), "b.example.com": (both,), "*.example.com": (wild,)}
