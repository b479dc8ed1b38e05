"""Ask the running controller over its own HTTP pages. Standard library only: the health check must start fast."""

from __future__ import annotations

import http.client
import json
from typing import Any

from controller.daemons import Daemons
from controller.domain.errors import TransientError

TIMEOUT = 5.0
"""Seconds for everything together, the look-up of a name among it."""
LARGEST = 64 * 2**20
"""Bytes of an answer; a thousand containers take about 2 MiB."""


def ask(address: tuple[str, int], page: str, *, holds: str) -> dict[str, Any]:
    """The JSON of a page of the controller at `address`; what does not hold that field is no page of ours.

    Raises:
        TransientError: nobody answers there, or with something else.
    """
    host, port = address
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 -- asked, not bound
    # The limit of a socket is one for each read only, and the look-up of a name has none.
    fetching = Daemons("ask the controller").submit(_fetch, host, port, page)
    try:
        answer = fetching.result(TIMEOUT)
    except TransientError:
        raise
    except Exception as error:
        # Which of the two limits ends first, the socket's or that of everything together, does not matter.
        why = f"nothing within {TIMEOUT:g} s" if isinstance(error, TimeoutError) else error
        raise TransientError(f"no controller answers at {host}:{port} ({why}); is `certferry run` running?") from error
    if not isinstance(answer, dict) or holds not in answer:
        raise TransientError(f"what answers at {host}:{port} is not certferry")
    return answer


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
