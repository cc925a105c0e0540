"""HUD's recipe for hashed exports: names as SHA-256 of their Soundex, SSN as its last four digits and SHA-256 of nine.

Only FirstName, MiddleName, LastName and SSN are hashed (HashStatus 4); a birth date never is. So hashed exports of two
systems can be compared with each other, and their values never become names.
"""

import re
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Final

from gateway.codecs.hmis_csv import column_key
from gateway.mapping.hmis.people import hashed

_CODES: Final = {c: d for d, letters in enumerate(("", "BFPV", "CGJKQSXZ", "DT", "L", "MN", "R")) for c in letters}
_NAMES: Final = ("firstname", "middlename", "lastname")


def soundex(name: str) -> str:
    """American Soundex: letter and three digits; H and W do not separate letters of one code, vowels do."""
    letters = re.sub(r"[^A-Z]", "", name.upper())
    if not letters:
        return ""
    out, last = letters[0], _CODES.get(letters[0], 0)
    for letter in letters[1:]:
        code = _CODES.get(letter, 0)
        if code and code != last:
            out += str(code)
        if letter not in "HW":
            last = code
    return (out + "000")[:4]


def hash_name(name: str) -> str:
    """SHA-256 of the Soundex; empty stays empty, and a digest stays as it is."""
    if not name.strip() or hashed(name):
        return name.strip()
    code = soundex(name)
    return sha256(code.encode()).hexdigest() if code else ""


def hash_ssn(ssn: str) -> str:
    """Last four characters and SHA-256 of the nine, left-padded with x; a hashed one stays as it is."""
    text = ssn.strip().replace("-", "")
    if not text or len(text) > 20:
        return text
    full = text.rjust(9, "x")
    return full[-4:] + sha256(full.encode()).hexdigest()


def hash_rows(file: str, header: Iterable[str], rows: Iterable[list[str]]) -> Iterator[list[str]]:
    """Rows of Client.csv hashed; Export.csv says so in HashStatus; other files pass."""
    at = {column_key(name): i for i, name in enumerate(header)}
    for row in rows:
        out = list(row)
        if file == "Client":
            for name, make in (*((name, hash_name) for name in _NAMES), ("ssn", hash_ssn)):
                index = at.get(name, len(out))
                if index < len(out):
                    out[index] = make(out[index])
        elif file == "Export" and at.get("hashstatus", len(out)) < len(out):
            out[at["hashstatus"]] = "4"
        yield out
