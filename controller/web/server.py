"""The small web server beside the loop's work: four pages, read-only, and what `certferry deliver` asks of the controller."""

from __future__ import annotations

import errno
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from controller.domain.errors import SettingsError
from controller.ending import finish, pass_on_cancellation
from controller.faults import Faults
from controller.setting_values import Address
from controller.store import Store
from controller.web.deliver import Deliver, route
from controller.web.health import Verdict, Vitals, judge_health, judge_readiness
from controller.web.metrics import Metrics
from controller.web.status import describe_store

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PAGES = {
    "/status": "sources, certificates and containers",
    "/metrics": "measures for Prometheus",
    "/healthz": "whether the process works",
    "/readyz": "whether everything was seen once",
}
GOODBYE, CLOSE = 0.3, 0.5
"""Seconds that open requests may take to end, and all of the server; aiohttp's own minute is longer than Docker waits before it
kills."""
_REASONS = {
    errno.EADDRINUSE: "the port is in use; choose another one, or off",
    errno.EACCES: "this process may not listen there; choose a port above 1023, or off",
    errno.EADDRNOTAVAIL: "this machine has no such address; choose 127.0.0.1 or 0.0.0.0, or off",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serve(
    address: Address | None,
    store: Store,
    *,
    metrics: Metrics,
    vitals: Vitals,
    deliver: Deliver | None = None,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[Address | None]:
    """Serve the pages while the context lasts; gives the address listened on, ``None`` where serving is off.

    Raises:
        SettingsError: nobody can listen there.
    """
    if address is None:
        yield None
        return
    app = _build(store, metrics=metrics, vitals=vitals, clock=clock)
    if deliver:
        app.router.add_routes([route(deliver)])
    runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=GOODBYE)
    await runner.setup()
    try:
        await _listen(runner, address)
        yield Address(address.host, runner.addresses[0][1])
    finally:
        await finish(runner.cleanup(), what="closing the web server", limit=CLOSE)


async def _listen(runner: web.AppRunner, address: Address) -> None:
    try:
        await web.TCPSite(runner, address.host, address.port).start()
    except (OSError, UnicodeError) as error:
        raise SettingsError(f"CERTFERRY_HTTP={str(address)!r}: {_reason(error)}") from error


def _reason(error: OSError | UnicodeError) -> str:
    if isinstance(error, socket.gaierror | UnicodeError):
        return "the host has no address"
    return _REASONS.get(error.errno or 0, str(error))


def _build(store: Store, *, metrics: Metrics, vitals: Vitals, clock: Callable[[], float]) -> web.Application:
    async def index(_request: web.Request) -> web.Response:
        return web.Response(text="certferry\n\n" + "".join(f"{page:10}{text}\n" for page, text in PAGES.items()))

    async def status(_request: web.Request) -> web.Response:
        return _json(describe_store(store, now=clock()))

    async def measures(_request: web.Request) -> web.Response:
        return web.Response(body=metrics.render(), headers={"Content-Type": METRICS_TYPE})

    async def health(_request: web.Request) -> web.Response:
        return _answer(judge_health(vitals))

    async def readiness(_request: web.Request) -> web.Response:
        return _answer(judge_readiness(store, vitals))

    app = web.Application(middlewares=[_explainer()])
    for path, handler in zip(("/", *PAGES), (index, status, measures, health, readiness), strict=True):
        app.router.add_get(path, handler)
    return app


def _explainer() -> Any:
    """Errors as JSON, and nothing kept in a cache; a fault of ours is logged once, and costs nothing but that answer."""
    faults = Faults()

    @web.middleware
    async def explain(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await handler(request)
        except web.HTTPException as error:
            response = _json({"error": error.reason, "pages": list(PAGES)}, status=error.status)
            if "Allow" in error.headers:
                response.headers["Allow"] = error.headers["Allow"]
        except Exception as error:
            pass_on_cancellation()
            faults.tell("page.crashed", error, about=request.path, page=request.path, message=str(error))
            response = _json({"error": f"a fault in certferry ({type(error).__name__}), see its log"}, status=500)
        if not response.prepared:
            response.headers["Cache-Control"] = "no-store"
        return response

    return explain


def _answer(verdict: Verdict) -> web.Response:
    return _json(verdict.body, status=200 if verdict.ok else 503)


def _json(body: dict[str, Any], *, status: int = 200) -> web.Response:
    return web.json_response(body, status=status, dumps=lambda value: json.dumps(value, indent=2) + "\n")
