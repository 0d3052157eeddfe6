"""A process that the system refuses io_uring, as container runtimes do: by a filter of system calls.

python -m tests.refused_calls MODULE [ARGUMENT ...]
"""

from __future__ import annotations

import ctypes
import errno
import runpy
import struct
import sys

_SETUP = 425
_NO_NEW_PRIVILEGES, _SET_FILTER, _FILTER_MODE = 38, 22, 2
_LOAD_NUMBER = struct.pack("=HBBI", 0x20, 0, 0, 0)
_UNLESS_SETUP_SKIP_ONE = struct.pack("=HBBI", 0x15, 0, 1, _SETUP)
_REFUSE = struct.pack("=HBBI", 0x06, 0, 0, 0x00050000 | errno.EPERM)
_ALLOW = struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF0000)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def refuse_io_uring() -> None:
    """For the rest of this process' life, and of those that it starts."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    program = _Program(4, _LOAD_NUMBER + _UNLESS_SETUP_SKIP_ONE + _REFUSE + _ALLOW)
    for arguments in (
        (_NO_NEW_PRIVILEGES, 1, 0, 0, 0),
        (_SET_FILTER, _FILTER_MODE, ctypes.byref(program), 0, 0),
    ):
        if prctl(*arguments) != 0:
            raise OSError(ctypes.get_errno(), "this process can't be filtered")


if __name__ == "__main__":
    refuse_io_uring()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
