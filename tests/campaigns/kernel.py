"""System calls of a process, and of all that it starts, that are asked of its parent before they are made (seccomp's
user notification): whoever calls, Python or a library in C++. Linux on x86-64."""

from __future__ import annotations

import ctypes
import fcntl
import os
import platform
import select
import socket
import struct
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

POSSIBLE = platform.system() == "Linux" and platform.machine() == "x86_64"

PR_SET_NO_NEW_PRIVS, SECCOMP, SET_MODE_FILTER, NEW_LISTENER, PIDFD_GETFD = 38, 317, 1, 8, 438
AUDIT_ARCH_X86_64, RET_ALLOW, RET_USER_NOTIF = 0xC000003E, 0x7FFF0000, 0x7FC00000
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
"""Of classic BPF: load a word, go on here or there as it equals a constant, return."""
NUMBER, ARCHITECTURE = 0, 4
"""Where they are in `struct seccomp_data`."""
RECEIVE, SEND = 0xC0502100, 0xC0182101
"""`SECCOMP_IOCTL_NOTIF_RECV`, `SECCOMP_IOCTL_NOTIF_SEND`."""
NOTICE = struct.Struct("<QIIiIQ6Q")
ANSWER = struct.Struct("<QqiI")
CONTINUE = 1
AT_FDCWD = -100
LONGEST_PATH = 4096


@dataclass(frozen=True)
class Call:
    """A system call that waits to be made.

    Attributes:
        task: the thread.
        number: which call.
        arguments: its six.
    """

    task: int
    number: int
    arguments: tuple[int, ...]

    @property
    def _process(self) -> Path:
        return Path("/proc") / str(self.task)

    def memory(self, address: int, size: int) -> bytes:
        """What is there in the caller's memory. Raises OSError as reading a file does."""
        memory = os.open(self._process / "mem", os.O_RDONLY)
        try:
            return os.pread(memory, size, address)
        finally:
            os.close(memory)

    def path(self, argument: int, folder: int | None = None) -> Path:
        """The absolute path in an argument, relative to the folder that is open as another one is."""
        address = self.arguments[argument]
        text = b""
        while b"\0" not in text and len(text) < LONGEST_PATH:
            text += self.memory(address + len(text), 256 - (address + len(text)) % 256)  # no page but its own
        opened = ctypes.c_int(AT_FDCWD if folder is None else self.arguments[folder]).value
        link = self._process / ("cwd" if opened == AT_FDCWD else f"fd/{opened}")
        return Path(os.path.normpath(link.readlink() / os.fsdecode(text.partition(b"\0")[0])))

    def file(self, argument: int) -> tuple[Path, os.stat_result, int]:
        """What is open as an argument: its path, what it is, and the flags that it was opened with."""
        number = str(self.arguments[argument])
        info = (self._process / "fdinfo" / number).read_text(encoding="ascii")
        link = self._process / "fd" / number
        return link.readlink(), link.stat(), int(_field(info, "flags"), 8)

    def write(self, size: int) -> int:
        """In place of the caller, the first bytes that it wants to write (of write(2))."""
        leader = int(_field((self._process / "status").read_text(), "Tgid"))
        process = os.pidfd_open(leader)
        descriptor = ctypes.CDLL(None, use_errno=True).syscall(PIDFD_GETFD, process, int(self.arguments[0]), 0)
        os.close(process)
        if descriptor < 0:
            raise OSError(ctypes.get_errno(), "pidfd_getfd")
        try:
            return os.write(descriptor, self.memory(self.arguments[1], size))
        finally:
            os.close(descriptor)


def _field(text: str, name: str) -> str:
    """The word after `name:` in a file of /proc."""
    return next(line.split()[1] for line in text.splitlines() if line.startswith(f"{name}:"))


@dataclass(frozen=True)
class Result:
    """What a call returns that is not made: a value, or an `errno`."""

    value: int = 0
    error: int = 0


class Watch:
    """Calls of one child: `install` is for the child, all else for its parent."""

    def __init__(self, numbers: Collection[int]) -> None:
        self._numbers = sorted(numbers)
        self._here, self._there = socket.socketpair()
        self._listener: int | None = None

    def install(self) -> None:
        """From here on these calls of this process and of all that it starts wait for an answer."""
        listener = _filter(self._numbers)
        socket.send_fds(self._there, [b"."], [listener])
        os.close(listener)
        self._here.close()
        self._there.close()

    def wait(self, seconds: float) -> tuple[int, Call] | None:
        """The next call, and what to answer it by; None if there is none within that time."""
        if self._listener is None:
            if select.select([self._here], [], [], seconds)[0]:
                self._listener = socket.recv_fds(self._here, 1, 1)[1][0]
            return None
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        found = poll.poll(seconds * 1000)
        if not found:
            return None
        if not found[0][1] & select.POLLIN:  # there is no process any more that has the filter
            select.select([], [], [], seconds)
            return None
        notice = bytearray(NOTICE.size)
        try:
            fcntl.ioctl(self._listener, RECEIVE, notice)
        except OSError:  # it was killed meanwhile
            return None
        key, task, _, number, _, _, *arguments = NOTICE.unpack(notice)
        return key, Call(task, number, tuple(arguments))

    def answer(self, key: int, result: Result | None) -> None:
        """Let a call be made (None), or return this."""
        assert self._listener is not None
        answer = (key, 0, 0, CONTINUE) if result is None else (key, result.value, -result.error, 0)
        with suppress(OSError):  # it was killed meanwhile
            fcntl.ioctl(self._listener, SEND, bytearray(ANSWER.pack(*answer)))

    def close(self) -> None:
        """When all have ended."""
        self._here.close()
        self._there.close()
        if self._listener is not None:
            os.close(self._listener)


def _filter(numbers: list[int]) -> int:
    """Install it; returns the descriptor by which calls are answered."""
    count = len(numbers)
    program = [(LOAD, 0, 0, ARCHITECTURE), (EQUAL, 0, count + 1, AUDIT_ARCH_X86_64), (LOAD, 0, 0, NUMBER)]
    program += [(EQUAL, count - index, 0, number) for index, number in enumerate(numbers)]
    program += [(RETURN, 0, 0, RET_ALLOW), (RETURN, 0, 0, RET_USER_NOTIF)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *line) for line in program))
    header = ctypes.create_string_buffer(struct.pack("<H6xQ", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    listener = int(libc.syscall(SECCOMP, SET_MODE_FILTER, NEW_LISTENER, header))
    if listener < 0:
        raise OSError(ctypes.get_errno(), "this kernel lets no call be asked of another process")
    return listener
