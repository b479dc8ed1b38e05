"""Ask the running controller over its own HTTP pages. Standard library only: the health check must start fast."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from controller.daemons import Daemons
from controller.domain.errors import TransientError

TIMEOUT = 5.0
"""Seconds for everything together, the look-up of a name among it."""
LARGEST = 64 * 2**20
"""Bytes of an answer; a thousand containers take about 2 MiB."""

LONGEST_STEP = 900.0
"""Seconds between two steps of a delivery; the longest waits for a container with the same files."""
HEADER = "X-Certferry"
"""See `controller.web.deliver`."""


def ask(address: tuple[str, int], page: str, *, holds: str) -> dict[str, Any]:
    """The JSON of a page of the controller at `address`; what does not hold that field is no page of ours.

    Raises:
        TransientError: nobody answers there, or with something else.
    """
    host, port = _reachable(address)
    # The limit of a socket is one for each read only, and the look-up of a name has none.
    fetching = Daemons("ask the controller").submit(_fetch, host, port, page)
    try:
        answer = fetching.result(TIMEOUT)
    except TransientError:
        raise
    except Exception as error:
        # Which of the two limits ends first, the socket's or that of everything together, does not matter.
        why = f"nothing within {TIMEOUT:g} s" if isinstance(error, TimeoutError) else getattr(error, "strerror", None) or error
        raise TransientError(f"no controller answers at {host}:{port} ({why}); is `certferry run` running?") from error
    if not isinstance(answer, dict) or holds not in answer:
        raise TransientError(f"what answers at {host}:{port} is not certferry")
    return answer


def deliver(address: tuple[str, int], name: str) -> Iterator[dict[str, Any]]:
    """Have the controller at `address` deliver to a container: its answers, each once it is there.

    Raises:
        ConnectionRefusedError: nobody listens there.
        TransientError: what listens there does not answer, or with something else.
    """
    host, port = _reachable(address)
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
    try:
        connection.request("POST", f"/deliver/{quote(name, safe='')}", headers={HEADER: "deliver"})
        response = connection.getresponse()
        if response.status != HTTPStatus.OK:
            raise TransientError(f"what answers at {host}:{port} is not this version of certferry (HTTP {response.status})")
        if connection.sock:
            connection.sock.settimeout(LONGEST_STEP)
        while line := response.readline(LARGEST):
            yield json.loads(line)
    except ConnectionRefusedError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise TransientError(f"the controller at {host}:{port} does not answer ({error})") from error
    finally:
        connection.close()


def _reachable(address: tuple[str, int]) -> tuple[str, int]:
    """Asked, not bound: not at "all addresses"."""
    host, port = address
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port  # noqa: S104


def _fetch(host: str, port: int, page: str) -> object:
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
    try:
        connection.request("GET", page)
        body = connection.getresponse().read(LARGEST + 1)
    finally:
        connection.close()
    if len(body) > LARGEST:
        raise TransientError(f"what answers at {host}:{port} sends more than {LARGEST // 2**20} MiB; it is not certferry")
    return json.loads(body)
