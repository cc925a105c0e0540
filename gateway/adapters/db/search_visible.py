"""The residual of an asker's Consents as a condition on a resource row: what cannot be visible is not even read.

Where little can be visible its keys are looked up, so that a search costs what the asker may see and not what the store
holds: its own records, what names nobody, and the records of those who signed for it and of those linked with them.
"""

from collections.abc import Iterable
from typing import Final

from gateway.adapters.db.engine import Session
from gateway.adapters.db.search_index import number_of
from gateway.adapters.db.search_sql import Words
from gateway.exchange.search import Grant, Shown
from gateway.kernel.identifiers import key_of

_LINK: Final = "Patient:reference:link.other"  # its source in the search index
_SEVERAL: Final = -1  # makers of one record
_PEOPLE: Final = 500  # patients whose records are looked up one by one


def visible_keys(session: Session, shown: Shown, type_: str, limit: int) -> set[int] | None:
    """The keys of all resources of a type that may be visible, and no others of note; None: more than ``limit``."""
    people = _people(session, shown) if shown.grants else set[int]()
    if people is None:
        return None
    words = Words(session.dialect)
    row = f"SELECT key FROM resource WHERE type = {words.bind(type_)} AND"
    ways = [f"{row} subject = ''"]
    if shown.creators:
        ways.append(f"{row} {words.among('owner', shown.creators)}")
    if shown.maker:
        made = words.among("maker", [key_of(shown.maker), _SEVERAL])
        ways.append(f"{row} {made} AND maker <> 0")  # said again, for the index holds no others
    if people:
        named = words.among("patient", sorted(people))
        ways.append(f"SELECT key FROM resource_patient WHERE {named} AND type = {words.bind(type_)}")
    found: set[int] = set()
    for way in ways:
        wanted = Words(session.dialect, dict(words.values))
        rows = session.connection.execute(f"{way} LIMIT {wanted.bind(limit + 1)}", wanted.values).fetchall()
        found.update(key for (key,) in rows)
        if len(rows) > limit or len(found) > limit:
            return None
    return found


def _people(session: Session, shown: Shown) -> set[int] | None:
    """Keys of the patients whose Consents may show something, and of the records linked to them; None: too many."""
    words = Words(session.dialect)
    forms = words.among("form", sorted({form for grant in shown.grants for form in grant.forms}))
    now = words.bind(shown.now_us)
    text = (
        f"SELECT subject FROM consent_form WHERE {forms} AND low_us <= {now} AND high_us >= {now}"
        f" LIMIT {words.bind(_PEOPLE + 1)}"
    )
    rows = session.connection.execute(text, words.values).fetchall()
    found = {key_of(subject) for (subject,) in rows}
    fresh = found
    while fresh and len(rows) <= _PEOPLE:
        rows = _holders(session, fresh)
        fresh = {key for (key,) in rows} - found
        found = found | fresh
    return found if len(rows) <= _PEOPLE and len(found) <= _PEOPLE else None


def _holders(session: Session, targets: Iterable[int]) -> list[tuple[int]]:
    """The patients whose link leads to one of these."""
    words = Words(session.dialect)
    text = (
        f"SELECT key FROM search_link WHERE p = {words.bind(number_of(_LINK))}"
        f" AND {words.among('target', sorted(targets))} LIMIT {words.bind(_PEOPLE + 1)}"
    )
    found: list[tuple[int]] = session.connection.execute(text, words.values).fetchall()
    return found


def visible_part(words: Words, shown: Shown, type_: str, row: str) -> str:
    """The condition on the row with alias ``row``, a resource (``r``) or a row of an index table that has its key."""
    if row == "r":
        return _part(words, shown, "r")
    return (
        f"EXISTS (SELECT 1 FROM resource v WHERE v.type = {words.bind(type_)} AND v.key = {row}.key"
        f" AND {_part(words, shown, 'v')}{words.apart})"
    )


def _part(words: Words, shown: Shown, row: str) -> str:
    parts = [f"{row}.subject = ''"]
    if shown.creators:
        parts.append(words.among(f"{row}.owner", shown.creators))
    if shown.maker:
        parts.append(words.among(f"{row}.maker", [key_of(shown.maker), _SEVERAL]))
    if shown.grants:
        permitted = " OR ".join(_granted(words, grant, row) for grant in shown.grants)
        now = words.bind(shown.now_us)
        parts.append(
            f"EXISTS (SELECT 1 FROM consent_form w WHERE w.subject = {row}.subject"
            f" AND w.low_us <= {now} AND w.high_us >= {now} AND ({permitted}){words.apart})"
        )
        parts.append(_inherited(words, row))
    return "(" + " OR ".join(parts) + ")"


def _granted(words: Words, grant: Grant, row: str) -> str:
    formed = words.among("w.form", grant.forms)
    return f"({formed} AND NOT ({words.among(f'{row}.kind', grant.without)}))" if grant.without else formed


def _inherited(words: Words, row: str) -> str:
    """No Consent of its own but a link to another record, whose Consents may speak for it: for the engine to say."""
    return (
        f"(NOT EXISTS (SELECT 1 FROM consent_form w WHERE w.subject = {row}.subject{words.apart}) AND EXISTS (SELECT 1"
        f" FROM resource p WHERE p.type = 'Patient' AND p.id = substr({row}.subject, 9) AND EXISTS (SELECT 1"
        f" FROM search_link l WHERE l.p = {words.bind(number_of(_LINK))} AND l.key = p.key{words.apart}){words.apart}))"
    )
