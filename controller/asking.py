"""Ask the running controller over its own HTTP pages. Standard library only: the health check must start fast."""

from __future__ import annotations

import http.client
import json
from typing import Any

from controller.domain.errors import TransientError

TIMEOUT = 5.0


def ask(address: tuple[str, int], page: str, *, holds: str) -> dict[str, Any]:
    """The JSON of a page of the controller at `address`; what does not hold that field is no page of ours.

    Raises:
        TransientError: nobody answers there, or with something else.
    """
    host, port = address
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 -- asked, not bound
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
    try:
        connection.request("GET", page)
        body = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise TransientError(f"no controller answers at {host}:{port} ({error}); is `certferry run` running?") from error
    finally:
        connection.close()
    if not isinstance(body, dict) or holds not in body:
        raise TransientError(f"what answers at {host}:{port} is not certferry")
    return body
