"""The facts of a leaf, from what a file holds or a handshake hands out."""

from __future__ import annotations

from controller.domain.certificate import Leaf
from controller.x509.parsed import parse_all, parse_der


def parse_leaf(pem: bytes) -> Leaf:
    """The facts of the first certificate in PEM text (a lone leaf, a full chain, or a combined file).

    Raises:
        MalformedPem: there is none, or it does not parse.
    """
    return parse_all(pem)[0].leaf


def parse_leaf_der(der: bytes) -> Leaf:
    """The facts of one DER certificate, as a TLS handshake hands it out.

    Raises:
        MalformedPem: it does not parse.
    """
    return parse_der(der).leaf
