"""``POST /deliver/NAME``: what `certferry deliver` asks of the running controller. Only programs on this machine may."""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import Awaitable, Callable

from aiohttp import web

from controller.asking import HEADER
from controller.deliver import Ended, Say
from controller.domain.errors import Error
from controller.ending import pass_on_cancellation
from controller.faults import Faults

Deliver = Callable[[str, Say], Awaitable[Ended]]


def route(deliver: Deliver) -> web.RouteDef:
    """The page; each step is a line of JSON, and the last line says how it ended. Who hangs up ends nothing."""
    working: set[asyncio.Task[None]] = set()
    faults = Faults()

    async def work(name: str, said: asyncio.Queue[dict[str, object]]) -> None:
        try:
            ended = await deliver(name, lambda line: said.put_nowait({"step": line}))
            last: dict[str, object] = {"ready": ended.ready, "message": ended.message}
        except Error as error:
            last = {"error": str(error)}
        except Exception as error:
            pass_on_cancellation()
            faults.tell("deliver.crashed", error, about=name, target=name, message=str(error))
            last = {"error": f"a fault in certferry ({type(error).__name__}), see its log"}
        said.put_nowait(last)

    async def answer(request: web.Request) -> web.StreamResponse:
        # A web page that somebody looks at on this machine can make the browser ask for things, but not with that header.
        if not _is_from_here(request) or HEADER not in request.headers:
            raise web.HTTPForbidden(reason="only for `certferry deliver` beside the controller")
        said: asyncio.Queue[dict[str, object]] = asyncio.Queue()
        task = asyncio.create_task(work(request.match_info["name"], said), name="deliver")
        working.add(task)
        task.add_done_callback(working.discard)
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        try:
            line: dict[str, object] = {"step": ""}
            while "step" in line:
                line = await said.get()
                await response.write(json.dumps(line).encode() + b"\n")
            await response.write_eof()
        except ConnectionError:  # it hung up
            return response
        return response

    return web.post("/deliver/{name}", answer)


def _is_from_here(request: web.Request) -> bool:
    """Whether a program on this machine asks: by the loopback or, where that is not listened on, by the address that is."""
    own = request.transport.get_extra_info("sockname") if request.transport else None
    return _is_local(request.remote) or bool(own and request.remote == own[0])


def _is_local(address: str | None) -> bool:
    try:
        return ipaddress.ip_address(address or "").is_loopback
    except ValueError:
        return False
