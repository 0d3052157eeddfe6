"""Whether an HTTP connection is read: uvicorn's flow control, and two more reasons to pause."""

from __future__ import annotations

from uvicorn.protocols.http.flow_control import FlowControl


class RequestFlow(FlowControl):
    """Uvicorn's, except that nothing is read while enough waits that was read already.

    An application that asks for its own request's body resumes reading there, and would fetch ever more of
    the requests behind it.

    Attributes:
        waiting: as much has been read of requests that are not served yet as may be.
        resting: the rest of a read is parsed in the event loop's next turn, whatever else resumes reading.
    """

    waiting = False
    resting = False

    def pause_reading(self) -> None:
        """Read nothing more, for now."""
        # A transport that has failed, and has yet to say so, can't be paused under uvloop.
        if not self.read_paused and not self._transport.is_closing():
            self.read_paused = True
            if not self.resting:
                self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on, unless enough waits."""
        if self.read_paused and not self.waiting:
            self.read_paused = False
            self._read_on()

    def wait(self) -> None:
        """Read nothing more until requests are served."""
        self.waiting = True
        self.pause_reading()

    def rest(self) -> None:
        """Read nothing more in this turn of the event loop."""
        self.resting = True
        if not self.read_paused and not self._transport.is_closing():
            self._transport.pause_reading()

    def end_rest(self) -> None:
        """It is the next turn."""
        self.resting = False
        self._read_on()

    def _read_on(self) -> None:
        if not self.read_paused and not self.resting and not self._transport.is_closing():
            self._transport.resume_reading()
