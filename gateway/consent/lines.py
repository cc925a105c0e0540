"""A request line of ``doorway consent decide`` as JSON, read so that no two readers could take it differently."""

import json
import re
from typing import Any, Final

import orjson

from gateway.kernel.errors import Malformed

_MARK: Final = b"\xef\xbb\xbf"  # what some editors put before UTF-8
_PIECE: Final = re.compile(rb'"((?:[^"\\]|\\.)*)"(\s*:)?|[{}\[\]]', re.DOTALL)


class _Doubled(ValueError):
    """A name stands twice in one object."""


def _object(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise _Doubled


_DOUBLES: Final = json.JSONDecoder(object_pairs_hook=_object)


def read_line(line: bytes) -> Any:
    """The JSON value of a line; a byte order mark before it is passed over.

    Raises:
        Malformed: not JSON, nested too deeply, or a name twice in one object: which of the two counts, readers differ,
            and one of them may be a denial.
    """
    text = line.removeprefix(_MARK)
    try:
        found = orjson.loads(text)
        _DOUBLES.decode(text.decode())
    except _Doubled:
        raise Malformed("a name stands twice in one object", at="line") from None
    except RecursionError:
        raise Malformed("nested too deeply", at="line") from None
    except orjson.JSONDecodeError as error:
        if "depth" in error.msg or "ecursion" in error.msg:
            raise Malformed("nested too deeply", at="line") from None
        raise Malformed(f"not JSON at character {error.pos}", at="line") from None
    return found


def id_of(line: bytes) -> str | None:
    """The ``id`` of a line that cannot be read as a whole, so that its answer can be told from the others."""
    depth, wanted = 0, False
    for piece in _PIECE.finditer(line):
        text = piece[0]
        if text in (b"{", b"["):
            depth += 1
        elif text in (b"}", b"]"):
            depth -= 1
        elif wanted:
            return _string(text) if piece[2] is None else None
        wanted = depth == 1 and piece[1] == b"id" and piece[2] is not None
    return None


def _string(text: bytes) -> str | None:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, str) else None
