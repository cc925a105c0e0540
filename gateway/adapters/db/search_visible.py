"""The residual of an asker's Consents as a condition on a resource row: what cannot be visible is not even read."""

from typing import Final

from gateway.adapters.db.search_index import number_of
from gateway.adapters.db.search_sql import Words
from gateway.exchange.search import Grant, Shown
from gateway.kernel.identifiers import key_of

_LINK: Final = "Patient:reference:link.other"  # its source in the search index
_SEVERAL: Final = -1  # makers of one record


def visible_part(words: Words, shown: Shown, type_: str, row: str) -> str:
    """The condition on the row with alias ``row``, a resource (``r``) or a row of an index table that has its key."""
    if row == "r":
        return _part(words, shown, "r")
    return (
        f"EXISTS (SELECT 1 FROM resource v WHERE v.type = {words.bind(type_)} AND v.key = {row}.key"
        f" AND {_part(words, shown, 'v')})"
    )


def _part(words: Words, shown: Shown, row: str) -> str:
    parts = [f"{row}.subject = ''"]
    if shown.source:
        parts.append(f"{row}.source = {words.bind(shown.source)}")
    if shown.maker:
        parts.append(words.among(f"{row}.maker", [key_of(shown.maker), _SEVERAL]))
    if shown.grants:
        permitted = " OR ".join(_granted(words, grant, row) for grant in shown.grants)
        now = words.bind(shown.now_us)
        parts.append(
            f"EXISTS (SELECT 1 FROM consent_form w WHERE w.subject = {row}.subject"
            f" AND w.low_us <= {now} AND w.high_us >= {now} AND ({permitted}))"
        )
        parts.append(_inherited(words, row))
    return "(" + " OR ".join(parts) + ")"


def _granted(words: Words, grant: Grant, row: str) -> str:
    formed = words.among("w.form", grant.forms)
    return f"({formed} AND NOT ({words.among(f'{row}.kind', grant.without)}))" if grant.without else formed


def _inherited(words: Words, row: str) -> str:
    """No Consent of its own but a link to another record, whose Consents may speak for it: for the engine to say."""
    return (
        f"(NOT EXISTS (SELECT 1 FROM consent_form w WHERE w.subject = {row}.subject) AND EXISTS (SELECT 1"
        f" FROM resource p WHERE p.type = 'Patient' AND p.id = substr({row}.subject, 9) AND EXISTS (SELECT 1"
        f" FROM search_link l WHERE l.p = {words.bind(number_of(_LINK))} AND l.key = p.key)))"
    )
