"""Messages like a given one: the texts of its slots are others, so that its template has to fill them."""

import re
from random import Random

from gateway.codecs.er7 import Message
from gateway.mapping.hl7v2.conversion import Feed
from gateway.mapping.hl7v2.convert import Converter
from gateway.mapping.hl7v2.cuts import PAD, SLOT, UNSAID

ODD = (
    "Zq%s",
    "x{y}",
    "20250101",
    "1.50",
    "19",
    "a b",
    "MR",
    "Ωmega",
    "’q",
    "\\T\\",
    '""',
    " ",
    "\u00a0",
    "&x",
    "~",
    "'/",
)


def like(converter: Converter, raw: bytes, rnd: Random, odd: float = 0.05) -> bytes:
    """The message with other digits and letters in some slots, a value of another slot, or an odd text."""
    assert converter.shapes is not None
    cut = converter.shapes.cut(Message.parse(raw), Feed())
    if cut is None:
        return raw
    (_, _, codec, shape), slots = cut

    def other(text: str) -> str:
        chance = rnd.random()
        if chance < odd:
            return rnd.choice([*ODD, *slots])
        if chance < 0.5 or "^" in text or len(text) < 4:
            return text
        if re.fullmatch(r"[12]\d{7,}([+-]\d{4})?", text):
            return f"{rnd.randrange(1930, 2025)}{rnd.randrange(1, 13):02d}{rnd.randrange(1, 29):02d}{text[8:]}"
        return re.sub("[A-Za-z0-9]", lambda one: rnd.choice("0123456789" if one[0].isdigit() else "abcXYZ"), text)

    texts = iter([other(text) for text in slots])
    filled = re.sub(f"{SLOT}{PAD}*", lambda _: next(texts), shape).replace(UNSAID, str(rnd.randrange(9)))
    return filled.encode(codec, "replace")


def differs(fast: Converter, raw: bytes, feed: Feed = Feed()) -> bool:  # noqa: B008  a constant
    """Whether what a converter says with what it remembers is anything else than what its rows make."""
    said, rows = fast.convert(Message.parse(raw), feed), fast.by_rows(Message.parse(raw), feed)
    return said.bundle_bytes() != rows.bundle_bytes() or said != rows or said.bundle() != rows.bundle()
