"""Random bits of the operating system, asked for in blocks: one system call for many ids."""

import os
import threading
import uuid

_BLOCK = 4096


class Entropy:
    """A buffer over ``os.urandom``; every byte is given out once, to whichever thread asks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bytes = b""
        self._at = 0
        self._process = 0

    def take(self, size: int) -> bytes:
        """``size`` fresh random bytes, at most 4096."""
        with self._lock:
            if self._at + size > len(self._bytes) or self._process != os.getpid():  # a fork must not repeat its parent
                self._bytes, self._at, self._process = os.urandom(_BLOCK), 0, os.getpid()
            self._at += size
            return self._bytes[self._at - size : self._at]

    def id(self) -> str:
        """A random UUID of version 8 (RFC 9562, 5.8): 122 random bits; clients may not choose ids of this form."""
        bits = int.from_bytes(self.take(16))
        return str(uuid.UUID(int=bits & ~(0xF << 76) & ~(3 << 62) | 8 << 76 | 2 << 62))

    def word(self) -> str:
        """128 bits as hexadecimal digits."""
        return self.take(16).hex()


ENTROPY = Entropy()
