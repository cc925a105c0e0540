"""Page cursors that nobody can read, change or use for another client: AES-GCM with the client as associated data."""

import base64
import binascii
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.kernel.errors import Malformed

_NONCE = 12


class CursorSeal:
    """Keeps :class:`gateway.exchange.rest.find.Seal`.

    Args:
        key: 32 bytes, the same for all processes over one database.
    """

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def close(self, text: str, client: str) -> str:
        """The cursor as the caller gets it."""
        nonce = os.urandom(_NONCE)
        sealed = nonce + self._cipher.encrypt(nonce, text.encode(), client.encode())
        return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def open(self, sealed: str, client: str) -> str:
        """The cursor inside.

        Raises:
            Malformed: not sealed by this gateway for this client.
        """
        try:
            raw = base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))
            return self._cipher.decrypt(raw[:_NONCE], raw[_NONCE:], client.encode()).decode()
        except (binascii.Error, InvalidTag, ValueError, UnicodeError):
            raise Malformed("not a cursor of yours", at="_cursor", fix="follow the next link as it is") from None
