"""Which network namespaces the links of ours lead into, by rtnetlink(7): the kernel is asked, and answers at once."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

ANSWER = 1.0
"""Seconds; the kernel answers within the call that asks."""

_HEADER = struct.Struct("=IHHII")
"""Length with the header, type, flags, sequence number, port (linux/netlink.h, nlmsghdr)."""
_REQUEST, _DUMP = 0x1, 0x300
_ERROR, _DONE = 2, 3
_NEWLINK, _GETLINK, _NEWNSID, _GETNSID = 16, 18, 88, 90
_LINK_BODY, _NSID_BODY = 16, 4
"""Bytes of ifinfomsg and of a padded rtgenmsg, before the attributes."""
_LINK_NETNSID, _NSID, _PID = 37, 1, 2
"""IFLA_LINK_NETNSID (linux/if_link.h), NETNSA_NSID and NETNSA_PID (linux/net_namespace.h)."""
_KIND = 0x3FFF
"""The bits of an attribute's type that are no flags (NLA_TYPE_MASK)."""


def leads_into(pid: int) -> bool:
    """Whether a link of our network namespace, such as a veth on a bridge, has its other end in that of a process.

    False also where the kernel does not say so.
    """
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
            kernel.settimeout(ANSWER)
            # The links first: only by listing them the kernel gives numbers to the namespaces they lead into.
            ends = {_number(found, _LINK_NETNSID) for found in _ask(kernel, _GETLINK, _DUMP, bytes(_LINK_BODY), _NEWLINK)}
            question = bytes(_NSID_BODY) + struct.pack("=HHI", 8, _PID, pid)
            its = {_number(found, _NSID) for found in _ask(kernel, _GETNSID, 0, question, _NEWNSID)}
    except (OSError, struct.error):
        return False
    return bool((ends & its) - {-1, None})


def _ask(kernel: socket.socket, kind: int, flags: int, body: bytes, expected: int) -> list[dict[int, bytes]]:
    """The attributes of each answer."""
    kernel.send(_HEADER.pack(_HEADER.size + len(body), kind, flags | _REQUEST, 1, 0) + body)
    start = _LINK_BODY if expected == _NEWLINK else _NSID_BODY
    found: list[dict[int, bytes]] = []
    while True:
        for answer, content in _messages(kernel.recv(2**18)):
            if answer in (_ERROR, _DONE):
                return found
            if answer == expected:
                found.append(dict(_attributes(content[start:])))
                if not flags:
                    return found


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _HEADER.size:
        length, kind, *_ = _HEADER.unpack_from(data)
        yield kind, data[_HEADER.size : length]
        data = data[_padded(length) :]


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        yield kind & _KIND, data[4:length]
        data = data[_padded(max(length, 4)) :]


def _padded(length: int) -> int:
    return length + 3 & ~3


def _number(attributes: dict[int, bytes], name: int) -> int | None:
    return int(struct.unpack("=i", attributes[name])[0]) if name in attributes else None
