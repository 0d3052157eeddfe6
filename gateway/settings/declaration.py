"""Every setting, declared once: flags, environment, checks and docs/configuration.md derive from here."""

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, PrivateAttr, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from gateway.core.loopback import is_loopback
from gateway.core.origin import canonical_origin
from gateway.core.topics.grammar import TopicLimits
from gateway.settings.auth import Auth
from gateway.settings.cloudevents import CloudEvents
from gateway.settings.console import Console
from gateway.settings.hook import Hook
from gateway.settings.limits import Limits
from gateway.settings.redis import Redis, url_secrets
from gateway.settings.section import Section
from gateway.settings.store import Store, store_problems
from gateway.settings.stream import Stream, stream_problems
from gateway.settings.values import Count, Duration, Texts

LATER: Final[dict[str, str]] = {}
"""Keys whose feature isn't there yet, with the reason: refused, for to ignore one would promise it."""

_LEAST_HANG_SECONDS: Final = 5.0
_HOST: Final = re.compile(r"\[[0-9a-f:.]+\]|[a-z0-9._-]+")


def _origins(values: tuple[str, ...]) -> tuple[str, ...]:
    origins = []
    for value in values:
        # As browsers write it: what differs by a default port or a capital would never match.
        origin = canonical_origin(value)
        if origin is None:
            raise ValueError(
                f'{value!r} is not an origin: scheme, host and port only, as "https://app.example"'
            )
        origins.append(origin)
    return tuple(dict.fromkeys(origins))


def _hosts(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if not _HOST.fullmatch(value.lower()):
            raise ValueError(f'{value!r} is not a host name without port, as "gateway.internal"')
    return tuple(value.lower() for value in values)


def _networks(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        try:
            ipaddress.ip_network(value)
        except ValueError:
            raise ValueError(f'{value!r} is not an address or network, as "10.0.0.0/8"') from None
    return values


def _hang_timeout(seconds: float) -> float:
    # An event loop that is late by less may only be busy.
    if 0 < seconds < _LEAST_HANG_SECONDS:
        raise ValueError(f"must be 0 or at least {_LEAST_HANG_SECONDS:g} s")
    return seconds


class Server(Section):
    """Where and how the gateway listens."""

    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="Address or name to listen on; `::` is every address, of IPv4 too.",
    )
    port: int = Field(
        default=8080, ge=0, le=65535, description="TCP port to listen on; 0 takes any free one."
    )
    insecure: bool = Field(
        default=False, description="Listen beyond loopback although anyone may then publish and subscribe."
    )
    drain_seconds: Duration = Field(
        default=20.0,
        description="How long clients have to leave after SIGTERM or SIGINT. "
        "The process ends within this and 2 s.",
    )
    workers: Annotated[Count, Field(le=256)] = Field(
        default=1,
        description="Processes that share the port, each a node that uses one core. `redis.url` joins them; "
        "without it a private server that comes with `fanout-gateway[embedded]`.",
    )
    hang_timeout: Annotated[Duration, AfterValidator(_hang_timeout)] = Field(
        default=30.0,
        description="A worker whose event loop stands still for so long is killed and started again; at "
        "least 5 s, 0: never. A single process is watched by nobody but who started it (`/livez`).",
    )
    tls_certificate: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="File with the certificate and its chain, a PEM: listen with TLS. "
        "A changed file is taken up without a restart.",
    )
    tls_key: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="File with the certificate's private key, a PEM, not encrypted."
    )
    io_uring: Literal["auto", "required", "off"] = Field(
        default="auto",
        description="Hand what one turn writes to many WebSockets over to Linux in one system call; not with "
        "TLS. `auto`: where the system allows it; `required`: the gateway does not start without.",
    )
    trusted_proxies: Annotated[Texts, AfterValidator(_networks)] = Field(
        default=(),
        description="Addresses and networks of the reverse proxies whose `X-Forwarded-For` tells a client's "
        "address. Others can claim any.",
    )
    console: bool = Field(default=True, description="Serve the console at `/`.")
    access_log: bool = Field(default=False, description="Log every HTTP request.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severity that is logged."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto",
        description="`json`: an object a line; `console`: for people; `auto`: `console` on a terminal.",
    )


class Origins(Section):
    """Which web pages may talk to the gateway."""

    allow: Annotated[Texts, AfterValidator(_origins)] = Field(
        default=(),
        description="Origins besides the gateway's own whose pages may connect and publish.",
    )
    hosts: Annotated[Texts, AfterValidator(_hosts)] = Field(
        default=(),
        description="Names, without port, that a request's `Host` may carry besides those of loopback and "
        "`server.host`. Once this is set, it holds for every request. Until then it holds without "
        "authentication, unless `server.insecure` is set; and with authentication for what is served "
        "without a credential: the console, the probes, anonymous clients. Where the gateway can be reached "
        "from other machines, any IP address will do as well.",
    )


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """Where settings were read. All are equal: two settings with the same values are the same.

    Attributes:
        sources: by path, where each value comes from that is no default.
        again: reads there again; None where they were made otherwise.
        as_read: the settings as they were read.
    """

    sources: Mapping[str, str] = field(default_factory=dict)
    again: "Callable[[], Settings] | None" = None
    as_read: "Settings | None" = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Origin)

    def __hash__(self) -> int:
        return 0


class Settings(BaseSettings):
    """All settings, checked and frozen.

    Made directly it takes what it is given and reads nothing, so a test gets what it asks for; it is
    `gateway.settings.read` that looks into file, environment and flags.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        env_prefix="GATEWAY_",
        env_nested_delimiter="__",
    )

    server: Server = Server()
    limits: Limits = Limits()
    auth: Auth = Auth()
    origins: Origins = Origins()
    redis: Redis = Redis()
    store: Store = Store()
    streams: tuple[Stream, ...] = ()
    hooks: tuple[Hook, ...] = ()
    cloudevents: CloudEvents = CloudEvents()
    console: Console = Console()

    _origin: Origin = PrivateAttr(default_factory=Origin)

    @property
    def sources(self) -> Mapping[str, str]:
        """By path, where each value comes from that is no default."""
        return self._origin.sources

    @property
    def as_read(self) -> "Settings":
        """What the sources said: what was put in place of a setting since is not among it."""
        return self._origin.as_read or self

    def came_from(
        self,
        sources: Mapping[str, str],
        again: "Callable[[], Settings]",
        as_read: "Settings | None" = None,
    ) -> None:
        """Remember where these were read, how to read there again, and what was read if not these."""
        self._origin = Origin(sources, again, as_read or self)

    def with_taken(self, taken: Mapping[str, object], sources: Mapping[str, str]) -> "Settings":
        """These with some sections of a later reading, and with where every value comes from by now."""
        as_read, changed = (each.model_copy(update=dict(taken)) for each in (self.as_read, self))
        if (again := self._origin.again) is not None:
            as_read.came_from(sources, again)
            changed.came_from(sources, again, as_read)
        return changed

    def read_again(self) -> "Settings | None":
        """What the same places say now; None where they were not read anywhere.

        Raises:
            InvalidSettings: a setting breaks a rule.
        """
        return None if self._origin.again is None else self._origin.again()

    def secret_texts(self) -> tuple[str, ...]:
        """Every secret there is, in clear: for masking logs."""
        keys = (secret for key in self.auth.keys for secret in (key.secret, key.private_key) if secret)
        hooks = (secret for hook in self.hooks for secret in (*hook.secret, *hook.verify_token))
        secrets = tuple(secret.get_secret_value() for secret in (*keys, *hooks))
        url = self.redis.url
        return (*secrets, *(url_secrets(url.get_secret_value()) if url is not None else ()))

    @model_validator(mode="after")
    def _agree(self) -> Self:
        problems = []
        if (self.server.tls_certificate is None) != (self.server.tls_key is None):
            problems.append("server.tls_certificate and server.tls_key go together")
        if self.auth.mode == "none" and not self.server.insecure and not is_loopback(self.server.host):
            problems.append(
                f"server.host {self.server.host!r} can be reached from other machines, where anyone could "
                "publish and subscribe without authentication: set auth.mode, keep to 127.0.0.1, or set "
                "server.insecure = true (--insecure) if that is meant"
            )
        names = [hook.name for hook in self.hooks]
        twice = sorted({name for name in names if names.count(name) > 1})
        problems += [f"hooks: two have the name {name!r}" for name in twice]
        problems += store_problems(
            self.store,
            joined=self.redis.url is not None,
            workers=self.server.workers,
            streams=len(self.streams),
        )
        limits = TopicLimits(bytes=self.limits.topic_bytes, levels=self.limits.topic_levels)
        problems += stream_problems(self.streams, limits, self.limits.message_bytes)
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what the constructor is given, nothing from the surroundings; pydantic-settings calls this."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)
