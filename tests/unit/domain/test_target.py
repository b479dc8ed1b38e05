"""Where a certificate goes, and what goes into each file."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from controller.domain.target import Place, ProbePort, Reload, Slot, TargetKey
from tests.unit.made import CERT, CHAIN, COMBINED, ID, PRIVATE, certificate, pair, target


def test_the_certificate_file_holds_the_whole_chain():
    held = certificate()
    assert Place(Slot(), CERT, PRIVATE).contents(held) == {PRIVATE: pair().key, CERT: pair().chain}


def test_beside_a_file_for_the_chain_it_holds_the_leaf_alone():
    held = certificate()
    contents = Place(Slot(), CERT, PRIVATE, chain=CHAIN).contents(held)
    assert contents == {PRIVATE: held.key_pem, CHAIN: held.chain_pem, CERT: held.leaf_pem}


def test_a_combined_file_holds_key_leaf_and_chain_in_this_order():
    held = certificate()
    assert Place(Slot(), combined=COMBINED).contents(held) == {COMBINED: held.key_pem + held.leaf_pem + held.chain_pem}


def test_the_keys_file_comes_first_since_it_is_written_first_where_no_swap_is_possible():
    place = Place(Slot(), CERT, PRIVATE, CHAIN, COMBINED)
    assert list(place.contents(certificate())) == [PRIVATE, COMBINED, CHAIN, CERT] == list(place.paths)


def test_the_files_with_a_key_are_private():
    assert Place(Slot(), CERT, PRIVATE, CHAIN, COMBINED).private == {PRIVATE, COMBINED}


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (Reload("exec", ("postfix", "reload")), "postfix"),
        (Reload("signal", signal="HUP"), "signal:HUP"),
        (Reload("self", patience=20), "self"),
    ],
)
def test_a_step_of_a_reload_reads_as_in_its_label(step, text):
    assert str(step) == text


def test_keys_and_ports_are_short_in_messages():
    assert (str(TargetKey("local", ID)), str(ProbePort(993, "imaps"))) == ("local/0123456789ab", "993/imaps")


def test_a_target_is_called_as_its_container():
    assert target().name == "mail"


def test_a_path_that_is_not_given_has_no_file():
    assert Place(Slot(), certificate=PurePosixPath("/c"), key=PurePosixPath("/k")).paths == (
        PurePosixPath("/k"),
        PurePosixPath("/c"),
    )
