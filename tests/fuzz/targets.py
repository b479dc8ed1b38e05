"""All targets. A new one stands in the module of its field, in that module's `TARGETS`."""

from __future__ import annotations

from tests.fuzz import dialogues, docker, files, labels, proxies, stores
from tests.fuzz.target import Target

TARGETS: dict[str, Target] = {
    target.name: target for module in (files, stores, proxies, labels, dialogues, docker) for target in module.TARGETS
}
