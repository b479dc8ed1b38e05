"""ZooKeeper as a source; who talks to it is `zookeeper_client`, which needs kazoo."""

from __future__ import annotations

from controller.domain.errors import SettingsError
from controller.ports import Source
from sources.surroundings import Surroundings
from sources.traefik_kv.account import DEFAULT_KEY, object_key
from sources.traefik_kv.keyed import account_source
from sources.traefik_kv.network import NetworkOptions, check_options, read_endpoints
from sources.url import SourceUrl

PORT = 2181


def make(name: str, url: SourceUrl, _surroundings: Surroundings) -> Source:
    """The source of a ``zookeeper://`` URL.

    Raises:
        SettingsError: it names no server, has an unknown or contradictory option, or kazoo is not installed.
    """
    options = url.read_options(NetworkOptions)
    check_options(url, options)
    if options.tls_server_name:
        raise SettingsError(f"{url}: tls-server-name is not known for ZooKeeper; name the server as its certificate does")
    try:
        from sources.traefik_kv.zookeeper_client import ZooKeeper  # noqa: PLC0415 -- kazoo is an optional extra
    except ImportError as error:
        raise SettingsError(f"{url} needs the Python package kazoo; install certferry[zookeeper]") from error
    key = "/" + object_key(url.path.strip("/") or DEFAULT_KEY)
    return account_source(name, ZooKeeper(read_endpoints(url, port=PORT), options), (key,), options)
