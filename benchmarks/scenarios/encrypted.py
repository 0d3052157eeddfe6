"""T1, T2: what encryption costs, ended by the gateway or by a proxy in front of it."""

from __future__ import annotations

from benchmarks.measurement import Target
from benchmarks.scenarios.fan_out import FanOut
from benchmarks.scenarios.idle_connections import IdleConnections

_PEERS = ("gateway", "gateway-tls", "nginx-tls")


class EncryptedFanOut(FanOut):
    id = "T1"
    title = "as F1, without TLS, with TLS ended by the gateway, and by nginx in front of it"
    peers = _PEERS
    targets = (
        Target("W=64", "deliveries_per_cpu_second", 1, over=("nginx-tls", "W=64"), peer="gateway-tls"),
        Target("W=1", "deliveries_per_cpu_second", 1, over=("nginx-tls", "W=1"), peer="gateway-tls"),
    )


class EncryptedConnections(IdleConnections):
    id = "T2"
    title = "2,000 connections with one subscription each, without TLS, and with it as in T1"
    peers = _PEERS
    connections = 2_000
    with_tokens = False
    targets = (Target("idle", "connects_per_cpu_second", 1, over=("nginx-tls", "idle"), peer="gateway-tls"),)
