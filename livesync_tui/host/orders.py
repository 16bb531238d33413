"""What a host is started with. With the passwords it goes through a pipe, not on a command line or disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from engine.catalog.table_map import TableMap
from engine.connection.endpoint import Endpoint
from engine.connection.secret import Secret
from engine.errors import Side
from engine.replication.subscription import SubscriptionConfig


@dataclass(frozen=True, slots=True)
class HostOrders:
    """One host's work."""

    config: SubscriptionConfig
    socket_path: Path
    log_folder: Path
    migration_id: str
    source_name: str
    target_name: str

    def to_text(self) -> str:
        """For the pipe; it holds the passwords."""
        config = self.config
        return json.dumps(
            {
                "subscription": config.subscription,
                "publications": config.publications,
                "source": _endpoint_document(config.source),
                "target": _endpoint_document(config.target),
                "table_map": config.table_map.to_json(),
                "sync_workers": config.sync_workers,
                "socket_path": str(self.socket_path),
                "log_folder": str(self.log_folder),
                "migration_id": self.migration_id,
                "source_name": self.source_name,
                "target_name": self.target_name,
            }
        )


def read_orders(text: str) -> HostOrders:
    """Read what :meth:`HostOrders.to_text` wrote.

    Raises:
        KeyError, TypeError, ValueError: It is something else.
    """
    document = json.loads(text)
    return HostOrders(
        config=SubscriptionConfig(
            subscription=str(document["subscription"]),
            publications=tuple(document["publications"]),
            source=_endpoint(Side.SOURCE, document["source"]),
            target=_endpoint(Side.TARGET, document["target"]),
            table_map=TableMap.from_json(document["table_map"]),
            sync_workers=int(document["sync_workers"]),
        ),
        socket_path=Path(document["socket_path"]),
        log_folder=Path(document["log_folder"]),
        migration_id=str(document["migration_id"]),
        source_name=str(document["source_name"]),
        target_name=str(document["target_name"]),
    )


def _endpoint_document(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "parameters": dict(endpoint.parameters),
        "password": None if endpoint.password is None else endpoint.password.reveal(),
        "other_secrets": {name: secret.reveal() for name, secret in endpoint.other_secrets.items()},
    }


def _endpoint(side: Side, document: Mapping[str, Any]) -> Endpoint:
    password = document["password"]
    return Endpoint(
        side,
        MappingProxyType({str(key): str(value) for key, value in document["parameters"].items()}),
        None if password is None else Secret(str(password)),
        {str(name): Secret(str(value)) for name, value in document["other_secrets"].items()},
    )
