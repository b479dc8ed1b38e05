"""Who the targets are: containers whose operator set our labels."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import structlog

from controller.domain.container import Container, State
from controller.domain.errors import LabelError
from controller.domain.observed import Observed
from controller.domain.profile import Profile
from controller.domain.proxy import told_unused, without_discover
from controller.domain.target import InvalidTarget, Target, TargetKey
from controller.engine import Engine
from controller.labels import OLDER_DOMAIN, is_opted_in, parse_labels
from controller.targets import build_target, recognise

log = structlog.get_logger()

_DYING = (State.REMOVING, State.DEAD)


class Discovery:
    """Implements `controller.ports.Targets` for one Docker endpoint.

    `sources` are the names a label may choose from; they may change meanwhile. `observing` names the setting by which all
    targets are paused, if one does. `unused` says what makes sources of containers that look like proxies, by name. `older` is
    the profile of containers that carry the older tool's label and that no profile knows; `default` that of the others.
    """

    def __init__(  # noqa: PLR0913
        self,
        engine: Engine,
        *,
        endpoint: str,
        prefix: str,
        profiles: Sequence[Profile],
        default: Profile,
        sources: Collection[str],
        observing: str = "",
        unused: Callable[[], Mapping[str, str]] = dict,
        older: Profile | None = None,
    ) -> None:
        self._engine, self._endpoint, self._prefix, self._sources = engine, endpoint, prefix, sources
        self._profiles, self._default, self._older = {profile.name: profile for profile in profiles}, default, older or default
        self._observing, self._unused = observing, unused
        self._told: set[str] = set()

    def key(self, container_id: str) -> TargetKey:
        """The key of a container, target or not."""
        return TargetKey(self._endpoint, container_id)

    async def keys(self) -> Collection[TargetKey]:
        """See `controller.ports.Targets.keys`; whose labels come only from the image is left to `resolve`."""
        labels = await self._engine.labels()
        self._told &= labels.keys()
        return [self.key(container_id) for container_id, own in labels.items() if self._asks(own)]

    async def resolve(self, key: TargetKey) -> Target | InvalidTarget | None:
        """See `controller.ports.Targets.resolve`."""
        container = await self._engine.inspect(key.container_id, if_labels=self._asks)
        if container is None or container.state in _DYING:
            return None
        if not self._asks(container.labels):
            self._tell_ignored(container)
            return None
        return self._build(key, container)

    def adapt(self, target: Target, observed: Observed) -> Target | InvalidTarget:
        """See `controller.ports.Targets.adapt`."""
        return self._build(target.key, target.container, observed)

    def _build(self, key: TargetKey, container: Container, observed: Observed | None = None) -> Target | InvalidTarget:
        try:
            labels = without_discover(container.labels, self._prefix)
            spec = parse_labels(labels, prefix=self._prefix, profiles=self._profiles, sources=self._sources)
            default = self._older if OLDER_DOMAIN in labels else self._default
            chosen = self._profiles[spec.profile] if spec.profile else recognise(container, self._profiles.values(), default)
            target = build_target(key, container, spec, chosen, prefix=self._prefix, observed=observed)
            return replace(target, paused_by=self._observing or target.paused_by)
        except LabelError as error:
            return InvalidTarget(container, (*error.problems, *self._explain_sources(container)))

    def _explain_sources(self, container: Container) -> list[str]:
        """Where a label names a container that looks like a proxy and is not used yet: how to use it."""
        named = container.labels.get(f"{self._prefix}source", "").replace(",", " ").split()
        return [told_unused(name, text) for name, text in self._unused().items() if name in named]

    def _asks(self, labels: Mapping[str, str]) -> bool:
        return is_opted_in(without_discover(labels, self._prefix), self._prefix)

    def _tell_ignored(self, container: Container) -> None:
        if self._asks(container.all_labels) and container.id not in self._told:
            self._told.add(container.id)
            log.warning("labels.ignored", target=container.name, message="they come from the image; set them on the container")
