"""RabbitMQ: Debian's server as a node of its own, spoken to by AMQP 0-9-1."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.installing import install_debian_package
from benchmarks.peers.base import NotInstalledError, Peer, Start
from benchmarks.server_process import free_ports

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.server_process import Ports

# The name mapper would stay behind, so it is started here, and ended with the server.
_RUN: Final = """
epmd -address 127.0.0.1 -port "$ERL_EPMD_PORT" & mapper=$!
"$0" & server=$!
trap 'kill $server' TERM
wait $server; wait $server
kill $mapper
"""


class RabbitMq(Peer):
    name = "rabbitmq"
    title = "RabbitMQ, classic queue, AMQP 0-9-1 over TCP, one scheduler that doesn't spin"

    def install(self) -> str:
        if _executable() is None:
            install_debian_package("rabbitmq-server")
        if _executable() is None:
            raise NotInstalledError("Debian's package rabbitmq-server could not be installed")
        query = ["dpkg-query", "--show", "--showformat=${Version}", "rabbitmq-server"]
        return f"RabbitMQ {subprocess.run(query, capture_output=True, text=True, check=False).stdout}"

    def start(self, directory: Path, ports: Ports, settings: Mapping[str, str]) -> Start:  # noqa: ARG002
        listeners = "".join(
            f"listeners.tcp.{number} = 127.0.0.1:{port}\n"
            for number, port in enumerate((ports.websocket, ports.feed), 1)
        )
        (directory / "rabbitmq.conf").write_text(listeners, "utf-8")
        (directory / "plugins").write_text("[].", "utf-8")
        other = free_ports()
        executable = _executable()
        assert executable is not None
        environment = {
            "HOME": str(directory),
            "RABBITMQ_NODENAME": f"bench{ports.websocket}@localhost",
            "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq.conf"),
            "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(directory / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
            "RABBITMQ_FEATURE_FLAGS_FILE": str(directory / "feature_flags"),
            "RABBITMQ_DIST_PORT": str(other.websocket),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(other.feed),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none"
            ),
        }
        return Start(["bash", "-c", _RUN, executable], environment)


def _executable() -> str | None:
    # What is on the path wants to run as the user that the package made; the server itself doesn't care.
    found = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin/rabbitmq-server"))
    return str(found[-1]) if found and shutil.which("epmd") else None
