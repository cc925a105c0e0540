"""Page cursors that nobody can read, change or use for another client: AES-SIV with the client as associated data.

SIV (RFC 5297) needs no nonce: the same place gives the same cursor, so that the answers to equal requests are equal to
the byte, which is what the proof of non-interference compares.
"""

import base64
import binascii

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from gateway.kernel.errors import Malformed


class CursorSeal:
    """Keeps :class:`gateway.exchange.rest.find.Seal`.

    Args:
        key: 32 bytes, the same for all processes over one database.
    """

    def __init__(self, key: bytes) -> None:
        self._cipher = AESSIV(key)

    def close(self, text: str, client: str) -> str:
        """The cursor as the caller gets it."""
        sealed = self._cipher.encrypt(text.encode(), [client.encode()])
        return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def open(self, sealed: str, client: str) -> str:
        """The cursor inside.

        Raises:
            Malformed: not sealed by this gateway for this client.
        """
        try:
            raw = base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))
            return self._cipher.decrypt(raw, [client.encode()]).decode()
        except (binascii.Error, InvalidTag, ValueError, UnicodeError):
            raise Malformed("not a cursor of yours", at="_cursor", fix="follow the next link as it is") from None
