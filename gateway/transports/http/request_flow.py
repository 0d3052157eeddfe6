"""Whether an HTTP connection is read: uvicorn's flow control, and one more reason to pause."""

from __future__ import annotations

from uvicorn.protocols.http.flow_control import FlowControl


class RequestFlow(FlowControl):
    """Uvicorn's, except that nothing is read while enough waits that was read already.

    An application that asks for its own request's body resumes reading there, and would fetch ever more of
    the requests behind it.

    Attributes:
        waiting: as much has been read of requests that are not served yet as may be.
    """

    waiting = False

    def pause_reading(self) -> None:
        """Read nothing more, for now."""
        # A transport that has failed, and has yet to say so, can't be paused under uvloop.
        if not self.read_paused and not self._transport.is_closing():
            super().pause_reading()

    def resume_reading(self) -> None:
        """Read on, unless enough waits."""
        if self.read_paused and not self.waiting:
            self.read_paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()
