"""Names as comparable text: accents and signs folded, particles and placeholders known, sound and nickname classes.

Folding never decides that two names are the same; it only makes spellings comparable. Tables (nicknames, placeholders)
are arguments, so that a site can change them without touching code.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final


def words(text: str) -> list[str]:
    """The words of a table written as one text."""
    return text.split()


_LETTERS: Final = str.maketrans(
    {
        "ł": "l",
        "ø": "o",
        "đ": "d",
        "ð": "d",
        "ß": "ss",
        "æ": "ae",
        "œ": "oe",
        "þ": "th",
        "ı": "i",
        "ŋ": "ng",
        "ħ": "h",
        "ŧ": "t",
        "ƛ": "tl",
        "ə": "e",
        "ɬ": "l",
        "χ": "x",
        "θ": "th",
        "ɣ": "g",
        "'": "",
        "’": "",
        "‘": "",
        "`": "",
        "´": "",
        "ʼ": "",
        "ʻ": "",
        "ˀ": "",
        "ʔ": "",
        ".": "",
    }
)
_CYRILLIC: Final = str.maketrans(
    dict(
        zip(
            "абвгґдеєжзиіїйклмнопрстуфхцчшщъыьэюяё",
            "a,b,v,g,g,d,e,ie,zh,z,i,i,i,i,k,l,m,n,o,p,r,s,t,u,f,kh,ts,ch,sh,shch,,y,,e,iu,ia,e".split(","),  # noqa: SIM905
            strict=True,
        )
    )
)
_NOT_LETTER: Final = re.compile(r"[^a-z]+")
_HASH: Final = re.compile(r"(?:[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64}|[0-9a-f]{128})")


PARTICLES: Final = frozenset(
    words("de del della di da dos das do la las los el al ben bin bint ibn abu van von der den ter ten y e af st")
)
TITLES: Final = frozenset(
    ["mr", "mrs", "ms", "miss", "mx", "dr", "rev", "sir", "fr", "sr", "prof", "chief", "elder"]
) - {"sr"}
SUFFIXES: Final = {
    "jr": "2",
    "junior": "2",
    "ii": "2",
    "2nd": "2",
    "sr": "1",
    "senior": "1",
    "i": "1",
    "1st": "1",
    "iii": "3",
    "3rd": "3",
    "iv": "4",
    "4th": "4",
}
PLACEHOLDERS: Final = frozenset(
    "unknown unk unkn unkown anonymous anon refused declined test client patient none null na nan xx xxx xxxx noname "
    "nofirstname nolastname nolast nofirst notgiven notprovided withheld missing tbd temp babyboy babygirl baby "
    "newborn "
    "infant male female dataNotCollected clientrefused clientdoesntknow dontknow doesntknow deidentified redacted "
    "unidentified unidentifiedmale unidentifiedfemale name firstname lastname fname lname trauma".lower().split()
)
_DOES: Final = frozenset({"john", "jane", "jon", "baby", "unknown", "j"})


@lru_cache(maxsize=200_000)
def plain_digits(text: str) -> str:
    """Digits of any script as 0 to 9: a number is the same number however it is written."""
    if text.isascii():
        return text
    return "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in text)


def fold(text: str) -> str:
    """Lower-case ASCII letters with single spaces between words; accents, apostrophes and full stops disappear."""
    low = text.casefold().translate(_LETTERS)
    if not low.isascii():
        low = unicodedata.normalize("NFKD", low.translate(_CYRILLIC))
        low = "".join(c for c in low if not unicodedata.combining(c)).translate(_LETTERS)
    return _NOT_LETTER.sub(" ", low).strip()


def hashed(text: str) -> str | None:
    """The digest in a name of a hashed HMIS export (MD5, SHA-1, SHA-256 or SHA-512 in hex), or None for clear text."""
    low = text.strip().lower()
    return low if _HASH.fullmatch(low) else None


def is_placeholder(words: str) -> bool:
    """Whether folded text stands for no name at all: ``unknown``, ``baby boy``, ``xxx``."""
    joined = words.replace(" ", "")
    return not joined or joined in PLACEHOLDERS or (len(joined) > 1 and len(set(joined)) == 1)


def is_john_doe(given: str, last: str) -> bool:
    """Whether folded given and last name together are the custom for an unidentified person."""
    return last == "doe" and given in _DOES


def surname_parts(last: str) -> tuple[str, ...]:
    """The parts of a folded surname that carry meaning: ``garcia lopez`` -> (garcia, lopez); particles dropped."""
    words = last.split()
    kept = tuple(w for w in words if w not in PARTICLES and len(w) > 1)
    return kept or (last.replace(" ", ""),)


_SOUNDS: Final = (
    (re.compile("^wr|^rh"), "r"),
    (re.compile("^(?:h(?=[aeiouy])|k(?=n)|g(?=n))|gh(?=t)"), ""),
    (re.compile("ph"), "f"),
    (re.compile("sch|sh|ch|tch|cz|sz|tsch|zh|^x(?=[aeiou])"), "s"),
    (re.compile("ck|kh|gh|qu|q|c(?![eiy])|k"), "k"),
    (re.compile("c(?=[eiy])|ts|tz|z|ss"), "s"),
    (re.compile("x"), "ks"),
    (re.compile("th|dh|dd|dt|d(?=$)"), "t"),
    (re.compile("w|ff|f(?=$)|b(?=v)"), "v"),
    (re.compile("j|dzh|y(?=[aeiou])"), "i"),
)


@lru_cache(maxsize=200_000)
def sound(word: str) -> str:
    """A consonant skeleton that spellings of one name share across languages (Mohamed, Muhammad; Yusuf, Youssef).

    Coarser than Soundex on vowels and doubled letters, finer on consonants; the first letter keeps only its class.
    """
    text = word.replace(" ", "")
    for pattern, with_ in _SOUNDS:
        text = pattern.sub(with_, text)
    if not text:
        return ""
    head = "a" if text[0] in "aeiouy" else text[0]
    out = [head]
    for letter in text[1:]:
        if letter in "aeiouyh":
            continue
        if letter != out[-1]:
            out.append(letter)
    return "".join(out)[:6]


class Nicknames:
    """Classes of given names that one person may use: ``bill`` and ``william`` share a root.

    Args:
        pairs: (formal name, nickname or other spelling), both folded; a name may have several roots.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        roots: dict[str, set[str]] = {}
        formal: set[str] = set()
        for name, nick in pairs:
            roots.setdefault(nick, set()).add(name)
            formal.add(name)
        for name in formal:
            roots.setdefault(name, set()).add(name)
        self._roots: Mapping[str, frozenset[str]] = {name: frozenset(found) for name, found in roots.items()}
        self._main = {name: name if name in found else min(found) for name, found in self._roots.items()}

    def roots(self, name: str) -> frozenset[str]:
        """Every root of a folded given name; a name in no table is its own root."""
        found = self._roots.get(name)
        return found if found is not None else frozenset((name,))

    def main_root(self, name: str) -> str:
        """One root for a blocking key: the name itself when it is a formal name."""
        return self._main.get(name, name)
