"""Many sends in one system call: a ring of Linux's io_uring for what one turn writes to many sockets.

A send that is asked for with ``MSG_DONTWAIT`` is carried out, cut short or refused while the call that hands
it over runs. So when ``SendRing.send`` returns all is known: nothing is on its way, and no memory has to
outlive it. Whatever was not taken is the caller's to write in another way.

Neither the C library nor Python wraps the calls, and they are few: io_uring_setup(2), io_uring_enter(2) and a
mapping of their queues. Both queues are filled and read by columns, as each field of an entry lies at an
equal distance from that of the next: a loop over entries would cost more than is gained.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import socket
import struct
import sys
from array import array
from contextlib import suppress
from itertools import accumulate

_ENTRIES = 512
"""Of the ring, a power of two: several times a batch, so that few batches end at its seam."""

_BATCH = 64
"""Sends handed over at once: among so many the price of the call is hardly felt, and it takes 0.3 ms."""

PIECE_BYTES = 16 * 1024
"""Largest piece: what is larger costs so much to copy that the price of its system call is nothing."""

# As linux/io_uring.h has it. Both calls have one number on every architecture but Alpha.
_SETUP, _ENTER = 425, 426
_GET_RESULTS = 1
_QUEUES_OFFSET, _ENTRIES_OFFSET = 0, 0x10000000
_SINGLE_MAPPING = 1
_OP_SEND = 26
_ENTRY_BYTES, _RESULT_BYTES = 64, 16
_PARAMETERS = struct.Struct("=II12xI16x10I10I")
"""Entries, results and features; of either queue the offsets of head, tail, mask, size, flags, …"""

_WRAP = 0xFFFFFFFF


class SendRing:
    """A ring of this process: for one thread at a time, and not for a process that is forked from it.

    Attributes:
        piece_bytes: the most that one socket may be sent.
        whole: sends that were taken in whole.
        returned: sends that were cut short or refused.
    """

    piece_bytes = PIECE_BYTES

    def __init__(self) -> None:
        """Make it, and try whether it does as it should.

        Raises:
            OSError: the system has no io_uring, refuses it, or does not carry sends out at once.
        """
        self.whole = self.returned = 0
        self._tail = 0
        self._tried = False
        if sys.platform != "linux":
            raise OSError(errno.ENOSYS, "only Linux has io_uring")
        self._syscall = ctypes.CDLL(None, use_errno=True)["syscall"]
        self._syscall.restype = ctypes.c_long
        self._syscall.argtypes = (ctypes.c_long,) * 7
        parameters = ctypes.create_string_buffer(_PARAMETERS.size)
        self._ring = self._call(_SETUP, _ENTRIES, ctypes.addressof(parameters))
        try:
            self._map(*_PARAMETERS.unpack(parameters.raw))
            self._try()
        except BaseException:
            self.close()
            raise
        self._tried = True
        self.whole = self.returned = 0

    def close(self) -> None:
        """Let go of it; it can't be used any more."""
        ring, self._ring = self._ring, -1
        if ring >= 0:
            os.close(ring)

    def send(self, descriptors: list[int], pieces: list[bytes]) -> list[int] | None:
        """Send each of ``pieces`` on the socket of the same place in ``descriptors``; never waits.

        Each piece has 1 to ``PIECE_BYTES`` bytes, and each socket is named once.

        Returns:
            How many bytes of each were taken, or None if all were in whole.

        Raises:
            OSError: nobody knows what was sent.
        """
        taken: list[int] | None = None
        done, count = 0, len(pieces)
        while done < count:
            until = min(count, done + _BATCH, done + _ENTRIES - (self._tail & (_ENTRIES - 1)))
            some = self._send_batch(descriptors[done:until], pieces[done:until])
            if some is not None:
                taken = taken or list(map(len, pieces))
                taken[done:until] = some
            done = until
        returned = 0 if taken is None else sum(map(int.__lt__, taken, map(len, pieces)))
        self.returned += returned
        self.whole += count - returned
        return taken

    def _send_batch(self, descriptors: list[int], pieces: list[bytes]) -> list[int] | None:
        count, first = len(pieces), pieces[0]
        # In a fan-out all get the same object, which is found out without a look at the bytes.
        if pieces.count(first) == count:
            joined, total = first, len(first)
            lengths = array("i", (total,)) * count
            addresses = array("Q", (self._arena_address,)) * count
        else:
            lengths = array("i", map(len, pieces))
            addresses = array("Q", accumulate(lengths[:-1], initial=self._arena_address))
            joined = b"".join(pieces)
            total = len(joined)
        self._arena[:total] = joined
        begin = self._tail & (_ENTRIES - 1)
        end = begin + count
        self._sockets[begin:end] = array("i", descriptors)
        self._addresses[begin:end] = addresses
        self._lengths[begin:end] = lengths
        self._hand_over(count)
        return self._results(begin, lengths)

    def _hand_over(self, count: int) -> None:
        words = self._words
        words[self._tail_at] = (self._tail + count) & _WRAP
        # Where it fails, what it left in the queue was not begun, as the head tells: the next take its place.
        with suppress(OSError):
            self._call(_ENTER, self._ring, count)
        self._tail = words[self._head_at]

    def _results(self, begin: int, lengths: array[int]) -> list[int] | None:
        words = self._words
        # They are all taken each time, so that both queues have always come equally far.
        head = words[self._results_head_at]
        count = (self._tail - head) & _WRAP
        if (words[self._results_tail_at] - head) & _WRAP != count:
            self._wait(count)
        first = head & (2 * _ENTRIES - 1)
        taken = self._taken[first : first + count]
        words[self._results_head_at] = self._tail
        # Nearly always all was taken, and nothing is looked at one by one. None takes more than there is, so
        # it makes no difference in which order the results have come.
        if taken.tobytes() == lengths.tobytes():
            return None
        found = [0] * len(lengths)
        for number, result in zip(self._numbers[first : first + count], taken, strict=True):
            found[number - begin] = max(0, result)
        return found

    def _wait(self, count: int) -> None:
        if not self._tried:
            raise OSError(errno.EOPNOTSUPP, "io_uring does not carry out sends at once here")
        words = self._words
        while (words[self._results_tail_at] - words[self._results_head_at]) & _WRAP < count:
            with suppress(InterruptedError):
                self._call(_ENTER, self._ring, 0, count, _GET_RESULTS)

    def _call(self, number: int, first: int, second: int, third: int = 0, fourth: int = 0) -> int:
        result: int = self._syscall(number, first, second, third, fourth, 0, 0)
        if result < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return result

    def _map(self, entries: int, results: int, features: int, *offsets: int) -> None:
        """Map both queues, and write what stays the same in every entry."""
        if not features & _SINGLE_MAPPING or (entries, results) != (_ENTRIES, 2 * _ENTRIES):
            raise OSError(errno.EOPNOTSUPP, "io_uring is too old here")
        self._head_at, self._tail_at = offsets[0] // 4, offsets[1] // 4
        self._results_head_at, self._results_tail_at = offsets[10] // 4, offsets[11] // 4
        order_at, results_at = offsets[6], offsets[15]
        results_end = results_at + _RESULT_BYTES * results
        queues = self._mapped(_QUEUES_OFFSET, max(order_at + 4 * entries, results_end))
        self._words = queues.cast("I")
        self._words[order_at // 4 : order_at // 4 + entries] = array("I", range(entries))
        self._numbers = queues[results_at:results_end].cast("Q")[0::2]
        self._taken = queues[results_at:results_end].cast("i")[2::4]
        # struct io_uring_sqe: opcode 0, fd 4, addr 16, len 24, msg_flags 28, user_data 32, the rest 0.
        queue = self._entries = self._mapped(_ENTRIES_OFFSET, _ENTRY_BYTES * entries)
        queue[0::64] = bytes((_OP_SEND,)) * entries
        queue.cast("I")[7::16] = array("I", (socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL,)) * entries
        queue.cast("Q")[4::8] = array("Q", range(entries))
        self._sockets, self._lengths = queue.cast("i")[1::16], queue.cast("i")[6::16]
        self._addresses = queue.cast("Q")[2::8]
        self._arena = mmap.mmap(-1, _BATCH * PIECE_BYTES)
        self._arena_address = ctypes.addressof(ctypes.c_char.from_buffer(self._arena))

    def _mapped(self, offset: int, size: int) -> memoryview:
        size += -size % 8
        return memoryview(mmap.mmap(self._ring, size, mmap.MAP_SHARED | mmap.MAP_POPULATE, offset=offset))

    def _try(self) -> None:
        """Send on sockets of our own: in whole, into one that is full, and into one whose peer has gone."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            number = ours.fileno()
            whole = self.send([number, number], [b"1", b"23"]) is None and theirs.recv(4) == b"123"
            piece = bytes(PIECE_BYTES)
            while (taken := self.send([number], [piece])) is None:
                pass
            theirs.close()
            gone = self.send([number] * 2, [piece] * 2)
        if not whole or not 0 <= taken[0] < PIECE_BYTES or gone != [0, 0]:
            raise OSError(errno.EOPNOTSUPP, "io_uring does not send as it should here")
