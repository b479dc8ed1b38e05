"""``certferry deliver``: ask the running controller to act; where there is none, act here."""

from __future__ import annotations

from controller import app, asking, running
from controller.deliver import Ended, Say, alone_beside
from controller.domain.errors import DeliveryRefused
from controller.settings import Settings, variable


def deliver(settings: Settings, wanted: str, say: Say) -> Ended:
    """Bring one container to where it should be; see `controller.deliver.Deliveries.deliver`. `say` gets each step.

    Raises:
        DeliveryRefused: there is no such target, it is paused, or a controller runs that cannot be asked from here.
        TransientError: the controller, or Docker, does not answer.
        SettingsError: as the other commands.
    """
    try:
        if settings.http is None:
            raise ConnectionRefusedError
        return _ask(settings.http, wanted, say)
    except ConnectionRefusedError:
        return running.run(_act(settings, wanted, say))


def _ask(address: tuple[str, int], wanted: str, say: Say) -> Ended:
    for answer in asking.deliver(address, wanted):
        if "step" in answer:
            say(answer["step"])
        elif "error" in answer:
            raise DeliveryRefused(answer["error"])
        else:
            return Ended(answer["ready"], answer["message"])
    raise DeliveryRefused("the controller ended in the middle; when it runs again, it finishes the work")


async def _act(settings: Settings, wanted: str, say: Say) -> Ended:
    """Unless a controller with the same label prefix runs in a container: both could act at a time."""
    prefix = variable("label_prefix")
    async with app.connected(settings) as parts:
        for other in await parts.engine.running("certferry run"):
            theirs = other.environment.get(prefix, Settings().label_prefix)
            if theirs.removesuffix(".") == settings.label_prefix.removesuffix("."):
                raise DeliveryRefused(
                    f"certferry runs in the container {other.name} and cannot be asked from here; say there:"
                    f" docker exec {other.name} certferry deliver {wanted} ({variable('http')} must not be off)"
                )
        return await app.deliveries(parts, alone_beside(settings.containers)).deliver(wanted, say)
