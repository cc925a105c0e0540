"""Random bits of the operating system, asked for in blocks: one system call for many ids."""

import os
import threading

_BLOCK = 4096


class Entropy:
    """A buffer over ``os.urandom``; every byte is given out once, to whichever thread asks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bytes = b""
        self._at = 0
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        """A fork must not repeat its parent, nor wait for a thread that it does not have."""
        self._lock, self._bytes, self._at = threading.Lock(), b"", 0

    def take(self, size: int) -> bytes:
        """``size`` fresh random bytes, at most 4096."""
        with self._lock:
            at = self._at
            if at + size > len(self._bytes):
                self._bytes, at = os.urandom(_BLOCK), 0
            self._at = at + size
            return self._bytes[at : at + size]

    def id(self) -> str:
        """A random UUID of version 8 (RFC 9562, 5.8): 122 random bits; clients may not choose ids of this form."""
        word = self.take(16).hex()
        variant = "89ab"[int(word[16], 16) & 3]
        return f"{word[:8]}-{word[8:12]}-8{word[13:16]}-{variant}{word[17:20]}-{word[20:]}"

    def word(self) -> str:
        """128 bits as hexadecimal digits."""
        return self.take(16).hex()


ENTROPY = Entropy()
