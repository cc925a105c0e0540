"""Traits: what linkage knows of one record, standardised, with nothing invented and nothing thrown away in silence.

A part of a birth date that is not known stays unknown; a value that stands for "no value" (999-99-9999, UNKNOWN, the
data-quality codes of HUD) is missing and not a disagreement; a shelter's address is no evidence.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, make_dataclass, replace
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final

from gateway.linkage.names import (
    SUFFIXES,
    TITLES,
    Nicknames,
    fold,
    hashed,
    is_john_doe,
    is_placeholder,
    plain_digits,
    sound,
    surname_parts,
    words,
)

COLUMNS: Final = (
    "id",
    "first",
    "middle",
    "last",
    "suffix",
    "alias",
    "dob",
    "sex",
    "ssn",
    "health_no",
    "phone",
    "address",
    "city",
    "postal",
    "multiple_birth",
    "name_quality",
    "dob_quality",
    "ssn_quality",
)


@dataclass(frozen=True, slots=True)
class Traits:
    """One record as linkage compares it. Text is folded; ``""`` and empty sets mean unknown, never a disagreement."""

    key: str
    given: str = field(default="", repr=False)
    givens: frozenset[str] = field(default=frozenset(), repr=False)  # given, its parts, alias and former given names
    roots: frozenset[str] = field(default=frozenset(), repr=False)  # nickname roots of all of them
    given_sound: str = field(default="", repr=False)
    middle: str = field(default="", repr=False)
    last: str = field(default="", repr=False)  # without spaces
    parts: frozenset[str] = field(default=frozenset(), repr=False)  # parts of every surname
    lasts: frozenset[str] = field(default=frozenset(), repr=False)  # surname, alias and former surnames, without spaces
    last_sound: str = field(default="", repr=False)
    suffix: str = field(default="", repr=False)  # 1 senior, 2 junior, 3, 4
    year: str = field(default="", repr=False)
    month: str = field(default="", repr=False)
    day: str = field(default="", repr=False)
    dob: str = field(default="", repr=False)  # eight digits, only when every part is known
    sex: str = field(default="", repr=False)  # m, f, x
    ssn: str = field(default="", repr=False)
    ssn4: str = field(default="", repr=False)
    health: str = field(default="", repr=False)
    health_of: str = field(default="", repr=False)  # assigning authority of the health number
    phone: str = field(default="", repr=False)
    address: str = field(default="", repr=False)  # "12 main" - number and street without its type
    city: str = field(default="", repr=False)
    postal: str = field(default="", repr=False)
    multiple_birth: bool = field(default=False, repr=False)
    soft_name: bool = False  # HUD name quality 2: partial, street or code name
    soft_dob: bool = False  # HUD birth date quality 2: approximate or partial
    soft_ssn: bool = False
    numbers: frozenset[str] = field(default=frozenset(), repr=False)  # authority|value of other identifiers


_Open: Final[Any] = make_dataclass("_Open", [(one.name, object) for one in fields(Traits)], slots=True)


def _made(*values: object, **named: object) -> Traits:
    """Traits of all their fields at a twentieth of the cost: a frozen class sets each of its thirty slots by a call, so
    an open one with the same slots is filled and then becomes it."""
    made = _Open(*values, **named)
    made.__class__ = Traits
    whole: Traits = made
    return whole


def comparable(a: Traits, b: Traits) -> bool:
    """Whether two records may be compared: one of a hashed export only with hashed ones, for its digests disagree with
    every name and number, and the people behind it are not to be found by their names."""
    x, y = hashed_kind(a), hashed_kind(b)
    return x is None or y is None or x is y


def hashed_kind(person: Traits) -> bool | None:
    """Whether a record is of a hashed export; None when it has neither name nor number to tell by."""
    first = person.given[:1] or person.last[:1] or person.ssn[:1]
    return first == "#" if first else None


_PARTIAL_SSN: Final = re.compile(r"[Xx*#\-. ]*(\d{4})")
_SINGLE_BIRTH: Final = frozenset({"", "0", "n", "no", "false", "f", "single", "unknown"})
_QUOTED: Final = re.compile(r"[\"“”(\[«]([^\"“”)\]»]+)[\"“”)\]»]")
_QUOTES: Final = frozenset('"“”()[]«»')
_ALIAS_BREAK: Final = re.compile(r"[;,/|]|\b(?:aka|a\.k\.a\.?|goes by|formerly|nee|née)\b", re.IGNORECASE)
_TAKEN_AS_MISSING: Final = frozenset({"8", "9", "99"})
_NO_DOB: Final = frozenset(
    {
        "19000101",
        "19010101",
        "18000101",
        "11111111",
        "99999999",
        "00010101",
        "18991230",
        "18991231",
        "20990101",
        "99991231",
    }
)
_NO_NUMBER: Final = frozenset(
    {"123456789", "987654321", "123456780", "012345678", "078051120", "219099999", "111223333", "1234567890"}
)
_NOT_ADDRESS: Final = re.compile(
    r"\b(?:shelter|mission|homeless|no fixed|nfa|general delivery|transient|unhoused|unsheltered|salvation army|"
    r"drop ?in|"
    r"no address|unknown|refused|declined|(?:on|in) the streets?|^the streets$|encampment|"
    r"navigation center|warming cent(?:er|re)|rescue|"
    r"safe ?haven|ymca|ywca|treatment cent(?:er|re)|jail|correctional|hospital|c o|care of|none|na)\b"
)
_STREET_TYPES: Final = frozenset(
    words(
        "street st avenue ave av road rd drive dr lane ln court ct place pl boulevard blvd way terrace ter "
        "tce circle cir cct circuit crescent cres close cl highway hwy parkway pkwy square sq trail trl north "
        "south east west n s e w ne nw se sw apt apartment unit suite ste no number num floor fl"
    )
)
_WORD: Final = re.compile(r"[^a-z0-9]+")


@lru_cache(maxsize=100_000)
def read_dob(text: str) -> tuple[str, str, str]:
    """(year, month, day) as digits with "" for a part that is unknown; wrong parts are kept as typed, never mended.

    Reads YYYY-MM-DD, YYYYMMDD, YYYY-MM, YYYYMM, YYYY, and M/D/YYYY (D/M/YYYY when the first number exceeds 12).
    """
    text = plain_digits(text).strip().split("T")[0].split(" ")[0]
    pieces = [p for p in re.split(r"\D+", text) if p]
    if len(pieces) == 1:
        digits = pieces[0]
        year, month, day = digits[:4], digits[4:6], digits[6:8]
    elif len(pieces[0]) == 4 if pieces else False:
        year, month, day = pieces[0], pieces[1].zfill(2), pieces[2][:2].zfill(2) if len(pieces) > 2 else ""
    elif len(pieces) == 3 and len(pieces[2]) == 4:
        first, second = pieces[0].zfill(2), pieces[1].zfill(2)
        year, (month, day) = pieces[2], (second, first) if int(first) > 12 else (first, second)
    else:
        return "", "", ""
    if len(year) != 4 or year in {"0000", "9999", "1111"} or year + month + day in _NO_DOB:
        return "", "", ""
    month, day = (part if part.strip("0") and len(part) == 2 else "" for part in (month, day))
    return year, month, day if month else ""


def read_ssn(text: str, quality: str = "") -> tuple[str, str]:
    """(full number, last four): ``XXXXX1234`` and ``1234`` give the last four only; placeholders give nothing."""
    text = plain_digits(text).strip()
    if not text or quality in _TAKEN_AS_MISSING:
        return "", ""
    digest = hashed(text[4:]) if len(text) > 20 and text[:4].isdigit() else None
    if digest:
        return f"#{digest}", text[:4]
    partial = _PARTIAL_SSN.fullmatch(text)
    if partial:
        return "", partial[1] if partial[1] not in {"0000", "9999"} else ""
    if re.search(r"[Xx*#]", text) or len(digits := re.sub(r"\D", "", text)) < 5:
        return "", ""
    if len(set(digits)) == 1 or digits in _NO_NUMBER or (len(digits) == 9 and digits[:3] in {"000", "666"}):
        return "", ""
    return digits, digits[-4:] if len(digits) >= 7 and digits[-4:] != "0000" else ""


def read_number(text: str) -> str:
    """A health number or other identifier: letters and digits only; "" for placeholders."""
    value = _WORD.sub("", plain_digits(text).casefold())
    digits = re.sub(r"\D", "", value)
    if len(digits) < 4 or len(set(digits)) == 1 or digits in _NO_NUMBER:
        return ""
    return value


def read_phone(text: str) -> str:
    """The national digits (last ten) of the first number in the text; "" for placeholders and fragments."""
    digits = re.sub(r"\D", "", re.split(r"(?i)ext|x|;|,|/", plain_digits(text))[0])
    if len(digits) == 11 and digits[0] == "1":
        digits = digits[1:]
    digits = digits[-10:]
    if len(digits) < 7 or len(set(digits[-7:])) <= 1 or digits in _NO_NUMBER:
        return ""
    return digits


@lru_cache(maxsize=200_000)
def read_address(text: str) -> str:
    """House number and street words without street types and units; "" when it is no private address."""
    low = plain_digits(text).casefold()
    words = [w for w in _WORD.split(low if low.isascii() else _fold_keep_digits(low)) if w]
    if not words or _NOT_ADDRESS.search(" ".join(words)):
        return ""
    kept = [w for w in words if w not in _STREET_TYPES]
    return " ".join(kept) if kept else ""


def _fold_keep_digits(low: str) -> str:
    return " ".join(w if w.isdigit() else fold(w) for w in re.split(r"[^\w]+", low))


def read_postal(text: str) -> str:
    """A postal code's letters and digits; a US ZIP+4 keeps its ZIP, a Canadian code keeps all six."""
    code = _WORD.sub("", plain_digits(text).casefold())
    if len(code) == 9 and code.isdigit():
        code = code[:5]
    return "" if not code or len(set(code)) == 1 or code in {"unknown", "none", "na"} else code


_SEX: Final = {
    "m": "m",
    "male": "m",
    "man": "m",
    "boy": "m",
    "1": "m",
    "f": "f",
    "female": "f",
    "woman": "f",
    "girl": "f",
    "0": "f",
    "x": "x",
    "other": "x",
    "nonbinary": "x",
    "o": "x",
}


def read_sex(text: str) -> str:
    """``m``, ``f`` or ``x``; anything else is unknown."""
    return _SEX.get(fold(text).replace(" ", "") or text.strip(), "")


@dataclass(slots=True)
class _Names:
    """Names of one record while they are collected."""

    given: str = ""
    middle: str = ""
    last: str = ""
    suffix: str = ""
    givens: set[str] = field(default_factory=set)
    lasts: set[str] = field(default_factory=set)
    parts: set[str] = field(default_factory=set)

    def add_given(self, words: list[str]) -> None:
        joined = "".join(words)
        if joined:
            self.givens.update({joined, *(w for w in words if len(w) > 2)})

    def add_last(self, last: str) -> None:
        parts = surname_parts(last)
        self.lasts.add(last.replace(" ", ""))
        self.lasts.add("".join(parts))
        self.parts.update(p for p in parts if len(p) > 2)

    def add_alias(self, text: str) -> None:
        for piece in _ALIAS_BREAK.split(text):
            words = [w for w in fold(piece).split() if w not in TITLES]
            if not words or is_placeholder("".join(words)):
                continue
            if len(words) == 1:
                self.givens.add(words[0])
                self.lasts.add(words[0])
            else:
                self.givens.add(words[0])
                self.add_last(" ".join(words[1:]))


def _read_names(first: str, middle: str, last: str, suffix: str, alias: str) -> _Names:
    names = _Names(suffix=SUFFIXES.get(fold(suffix) or suffix.strip().lower(), ""))
    if not _QUOTES.isdisjoint(first + last):
        for spoken in _QUOTED.findall(first) + _QUOTED.findall(last):
            names.add_alias(spoken)
        first, last = _QUOTED.sub(" ", first), _QUOTED.sub(" ", last)
    firsts = [w for w in fold(first).split() if w not in TITLES]
    surname = [w for w in fold(last).split() if w not in TITLES]
    if len(surname) > 1 and surname[-1] in SUFFIXES and surname[-1] not in {"i"}:
        names.suffix = names.suffix or SUFFIXES[surname.pop()]
    given_text, last_text = " ".join(firsts), " ".join(surname)
    if is_john_doe(given_text, last_text):
        given_text = last_text = ""
    if not is_placeholder(given_text):
        names.given = given_text.replace(" ", "")
        names.add_given(given_text.split())
    names.middle = "".join(fold(middle).split())
    if is_placeholder(names.middle) and len(names.middle) > 1:
        names.middle = ""
    words = given_text.split()
    if not names.middle and len(words) > 1 and names.given:
        names.middle = "".join(words[1:])
    if not is_placeholder(last_text):
        names.last = "".join(surname_parts(last_text))
        names.add_last(last_text)
    if alias:
        names.add_alias(alias)
    return names


class Reader:
    """Makes :class:`Traits` from rows and resources with one set of tables.

    Args:
        nicknames: classes of given names.
        institutions: words or addresses (as :func:`read_address` gives them) of shelters and agencies.
    """

    def __init__(self, nicknames: Nicknames, institutions: Iterable[str] = ()) -> None:
        self.nicknames: Final = nicknames
        self._institutions = frozenset(institutions)

    def row(self, values: Mapping[str, str], *, numbers: frozenset[str] = frozenset()) -> Traits:
        """Traits of a row with the columns of :data:`COLUMNS`; any may be missing.

        Args:
            numbers: ``system|value`` of identifiers that mean the person at their authority.
        """
        return self._traits(values.get, numbers)

    def _traits(self, get: Callable[[str, str], str], numbers: frozenset[str]) -> Traits:
        name_quality = get("name_quality", "").strip()
        first, last = get("first", ""), get("last", "")
        given_hash, last_hash = hashed(first), hashed(last)
        if name_quality in _TAKEN_AS_MISSING:
            names = _Names()
        else:
            names = _read_names(
                "" if given_hash else first,
                "" if hashed(get("middle", "")) else get("middle", ""),
                "" if last_hash else last,
                get("suffix", ""),
                get("alias", ""),
            )
            if given_hash:
                names.given = f"#{given_hash}"
            if last_hash:
                names.last = f"#{last_hash}"
                names.lasts.add(names.last)
        dob_quality = get("dob_quality", "").strip()
        year, month, day = ("", "", "") if dob_quality in _TAKEN_AS_MISSING else read_dob(get("dob", ""))
        ssn_quality = get("ssn_quality", "").strip()
        ssn, ssn4 = read_ssn(get("ssn", ""), ssn_quality)
        address = read_address(get("address", ""))
        institution = address in self._institutions or (bool(get("address", "").strip()) and not address)
        return _assemble(
            self.nicknames,
            names,
            key=get("id", "").strip(),
            numbers=numbers,
            year=year,
            month=month,
            day=day,
            dob=year + month + day if day else "",
            sex=read_sex(get("sex", "")),
            ssn=ssn,
            ssn4=ssn4,
            health=read_number(get("health_no", "")),
            health_of=get("health_of", ""),
            phone=read_phone(get("phone", "")),
            address="" if institution else address,
            city="" if institution else fold(get("city", "")).replace(" ", ""),
            postal="" if institution else read_postal(get("postal", "")),
            multiple_birth=get("multiple_birth", "").strip().casefold() not in _SINGLE_BIRTH,
            soft_name=name_quality == "2",
            soft_dob=dob_quality == "2",
            soft_ssn=ssn_quality == "2",
        )


def _assemble(nicknames: Nicknames, names: _Names, **facts: object) -> Traits:
    roots: set[str] = set()
    for given in names.givens:
        roots |= nicknames.roots(given)
    return _made(
        given=names.given,
        givens=frozenset(names.givens),
        roots=frozenset(roots),
        given_sound=names.given if names.given[:1] == "#" else sound(names.given),
        middle=names.middle,
        last=names.last,
        parts=frozenset(names.parts),
        lasts=frozenset(names.lasts),
        last_sound=names.last if names.last[:1] == "#" else sound(names.last),
        suffix=names.suffix,
        **facts,
    )


_SETS: Final = frozenset({"givens", "roots", "parts", "lasts", "numbers"})
_FLAGS: Final = frozenset({"multiple_birth", "soft_name", "soft_dob", "soft_ssn"})
_ORDER: Final = tuple(one.name for one in fields(Traits))
_SET_AT: Final = tuple(i for i, name in enumerate(_ORDER) if name in _SETS)
_FLAG_AT: Final = tuple(i for i, name in enumerate(_ORDER) if name in _FLAGS)
_UNIT, _RECORD = "\x1f", "\x1e"  # no FHIR string holds them; one that came otherwise loses them
_NEITHER: Final = str.maketrans({_UNIT: " ", _RECORD: " "})
_NONE: Final[frozenset[str]] = frozenset()


_VALUES: Final = attrgetter(*_ORDER)


def pack(person: Traits) -> bytes:
    """Traits as text for a store: fields in order, those of a set in order too, so that equal ones are equal bytes."""
    out: list[Any] = list(_VALUES(person))
    marks = 0
    for i in _SET_AT:
        value = out[i]
        out[i] = _RECORD.join(sorted(value)) if len(value) > 1 else "".join(value)
        marks += max(len(value) - 1, 0)
    for i in _FLAG_AT:
        out[i] = "1" if out[i] else ""
    text = _UNIT.join(out)
    if text.count(_UNIT) != len(out) - 1 or text.count(_RECORD) != marks:  # a value holds a mark of ours
        return pack(_without_marks(person))
    return text.encode()


def _without_marks(person: Traits) -> Traits:
    values: dict[str, Any] = {
        name: frozenset(one.translate(_NEITHER) for one in value) if name in _SETS else value.translate(_NEITHER)
        for name, value in zip(_ORDER, _VALUES(person), strict=True)
        if name not in _FLAGS
    }
    return replace(person, **values)


@lru_cache(maxsize=50_000)
def _set_of(text: str) -> frozenset[str]:
    """A set as packed; those of names come again and again."""
    return frozenset(text.split(_RECORD))


def unpack(text: bytes) -> Traits:
    """What :func:`pack` wrote."""
    found: list[Any] = text.decode().split(_UNIT)
    for i in _SET_AT:
        value = found[i]
        found[i] = _set_of(value) if value else _NONE
    for i in _FLAG_AT:
        found[i] = found[i] == "1"
    return _made(*found)
