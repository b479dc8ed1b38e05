"""What is missing behind a leaf that a port hands out."""

from __future__ import annotations

import pytest

from controller.served_chain import gap
from tests.certs import Authority
from tests.unit.made import authority, certificate

other = Authority("another CA")
leaf, between, root = certificate().leaf_pem, authority().intermediate_pem, authority().root_pem
NEITHER = "without the intermediates certferry test CA and another CA: clients cannot verify it"


@pytest.mark.parametrize(
    "sent",
    [
        leaf + between,
        leaf + between + root,
        leaf + between + between,
        leaf + leaf + between,
        leaf + other.root_pem + between,
        (b"\n subject=x\n" + leaf + b"# a comment\n" + between).replace(b"\n", b"\r\n"),
    ],
    ids=["as it is", "with the root", "twice", "the leaf twice", "with a foreign one", "with other line ends and comments"],
)
def test_more_than_the_chain_is_no_difference(sent):
    assert gap(between, sent) == ""


@pytest.mark.parametrize("sent", [leaf, leaf + root, leaf + other.intermediate_pem, between, b""])
def test_a_missing_intermediate_is_named(sent):
    assert gap(between, sent) == "without the intermediate certferry test CA: clients cannot verify it"


def test_so_are_several():
    assert gap(between + other.intermediate_pem, leaf) == NEITHER


def test_the_order_counts():
    wanted = between + other.intermediate_pem
    assert gap(wanted, leaf + root + between + root + other.intermediate_pem) == ""
    assert gap(wanted, leaf + other.intermediate_pem + between) == (
        "with its intermediates in another order than certferry test CA, another CA: some clients cannot verify it"
    )


def test_where_the_files_hold_one_twice_once_is_enough():
    assert gap(between + between, leaf + between) == ""


def test_where_no_chain_is_wanted_none_is_missing():
    assert gap(b"", leaf) == ""


def test_one_that_does_not_parse_is_missing_all_the_same():
    odd = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    assert gap(odd, leaf) == "without the intermediate (unreadable): clients cannot verify it"
