"""When the client reads from its socket, and when it leaves the bytes where they are.

A mailbox that is full shuts the valve: nothing is read, the kernel's buffers fill, the connection stops being
writable at the gateway, and there the subscription's overflow policy decides what is lost. That is the one
place where it can be decided well, so the client does not drop by itself as long as it need not.

It need while a command waits for its reply: the reply is behind messages that must be read to get at it. The
valve is then open whatever is full, and a full mailbox takes the messages into its reserve.
"""

from __future__ import annotations

import anyio


class ReadGate:
    """Open unless a mailbox is full and no command waits; one per client."""

    def __init__(self) -> None:
        self._full: set[object] = set()
        self._waiting = 0
        self._turned = anyio.Event()

    @property
    def is_open(self) -> bool:
        """Whether the socket is to be read."""
        return self._waiting > 0 or not self._full

    def hold(self, mailbox: object) -> None:
        """``mailbox`` is full."""
        self._full.add(mailbox)

    def release(self, mailbox: object) -> None:
        """``mailbox`` has room again, or is gone."""
        self._full.discard(mailbox)
        self._turn()

    def expect(self) -> None:
        """A command waits for its reply."""
        self._waiting += 1
        self._turn()

    def settle(self) -> None:
        """A command waits no longer."""
        self._waiting -= 1

    async def passage(self) -> None:
        """Wait until the socket is to be read."""
        while not self.is_open:
            self._turned = anyio.Event()
            await self._turned.wait()

    def _turn(self) -> None:
        if self.is_open:
            self._turned.set()
