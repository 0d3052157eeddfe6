"""The gateway behind TLS: ended by itself, or by nginx in front of it, both on the servers' core."""

from __future__ import annotations

import re
import shutil
import ssl
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from benchmarks.installing import install_debian_package
from benchmarks.peers.base import NotInstalledError, Start, python_server
from benchmarks.peers.gateway import Gateway
from tests.certificates import make_certificate

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from benchmarks.server_process import Ports

# As nginx is configured for WebSockets by its own documentation; what isn't said is its default.
_NGINX: Final = """
daemon off;
pid nginx.pid;
error_log stderr;
worker_processes 1;
worker_rlimit_nofile 65536;
events { worker_connections 65536; }
http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {
        listen 127.0.0.1:%(front)d ssl backlog=4096;
        ssl_certificate certificate.pem;
        ssl_certificate_key key.pem;
        ssl_protocols TLSv1.2 TLSv1.3;
        location / {
            proxy_pass http://127.0.0.1:%(back)d;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_read_timeout 1h;
        }
    }
}
"""


def _trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class EncryptedGateway(Gateway):
    name = "gateway-tls"
    title = "this gateway, TLS 1.3 ended by itself, a key on P-256"

    def __init__(self) -> None:
        self.encryption = _trusting()

    def start(self, directory: Path, ports: Ports, settings: Mapping[str, str]) -> Start:
        make_certificate(directory, "bench")
        start = super().start(directory, ports, settings)
        config = directory / "gateway.toml"
        files = f'tls_certificate = "{directory}/certificate.pem"\ntls_key = "{directory}/key.pem"\n'
        text = config.read_text("utf-8")
        config.write_text(text.replace("[server]\n", f"[server]\n{files}", 1), "utf-8")
        return start


class GatewayBehindNginx(Gateway):
    name = "nginx-tls"
    title = "TLS 1.3 ended by nginx with one worker, this gateway behind it; CPU and memory are of both"
    files_per_connection = 3

    def __init__(self) -> None:
        self.encryption = _trusting()

    def install(self) -> str:
        executable = _executable() or (install_debian_package("nginx-light") and _executable())
        if not executable:
            raise NotInstalledError("Debian's package nginx-light could not be installed")
        said = subprocess.run([executable, "-v"], capture_output=True, text=True, check=False).stderr
        version = re.search(r"nginx/(\S+)", said)
        return f"nginx {version[1] if version else '?'}, {super().install()}"

    def start(self, directory: Path, ports: Ports, settings: Mapping[str, str]) -> Start:
        make_certificate(directory, "bench")
        behind = super().start(directory, replace(ports, websocket=ports.feed), settings)
        config = directory / "nginx.conf"
        config.write_text(_NGINX % {"front": ports.websocket, "back": ports.feed}, "utf-8")
        front = [_executable() or "nginx", "-p", str(directory), "-c", str(config), "-e", "stderr"]
        return python_server("two_servers", ports.feed, *behind.command, "--", *front)


def _executable() -> str | None:
    return shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin")
