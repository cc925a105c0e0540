"""A Consent on our form becomes active only when everything that had to be told is recorded against that very text.

When that record is changed or deleted afterwards, the Consents that rest on it are marked and permit nothing from the
same commit on; their denials hold, so that nobody opens anything by it, and lint tells. Refusing the change would tell
of a Consent that its writer may not see. Recorded anew, they count again.
"""

from collections.abc import Sequence
from csv import DictReader
from io import StringIO

import orjson

from gateway.codecs import json_text
from gateway.consent.forms import (
    LANGUAGES,
    Form,
    marked_untold,
    missing_statements,
    names_our_form,
    read_form,
    untold,
)
from gateway.consent.labels import vouched_of
from gateway.consent.redact import spliced
from gateway.consent.view import local
from gateway.exchange.disclose import ReadData
from gateway.exchange.ports.resources import Draft, Stored
from gateway.exchange.ports.store import Unit
from gateway.exchange.save import Saver
from gateway.exchange.search import LinkValue, Match
from gateway.kernel.errors import Invalid
from gateway.profiles.search_parameters import Parameter

JURISDICTIONS = ("us", "ca")
_PAGE = 100


def read_forms(read_data: ReadData) -> tuple[Form, ...]:
    """Every form in every language."""
    return tuple(
        read_form(DictReader(StringIO(read_data(f"terminology/consent/forms/{one}.csv"))), one, language)
        for one in JURISDICTIONS
        for language in LANGUAGES
    )


class ConsentRule:
    """A follower of the Saver: it undoes the write of an active Consent whose form was not told in full."""

    def __init__(self, forms: Sequence[Form], source: Parameter | None = None) -> None:
        self._forms = tuple(forms)
        self._source = source  # the search parameter that finds Consents by their source

    def __call__(self, saver: Saver, unit: Unit, stored: Sequence[Stored], now_us: int) -> None:
        """Check what was written.

        Raises:
            Invalid: an active Consent names our form and a statement is not recorded against the exact version.
        """
        for one in stored:
            if one.type == "Consent" and not one.deleted:
                self._check(unit, one)
            elif one.type == "QuestionnaireResponse" and one.version > 1 and one.updated_us >= now_us:
                self.again(saver, unit, one, now_us)

    def again(self, saver: Saver, unit: Unit, response: Stored, now_us: int) -> None:
        """Mark the active Consents that rest on a response which does not record everything any more, or unmark."""
        if self._source is None:
            return
        resting = Match(self._source, "", (LinkValue((response.reference,)),))
        after = None
        while True:
            page = unit.resources.candidates("Consent", (resting,), after=after, limit=_PAGE)
            drafts = [made for one in page if (made := self._marked(one.stored, response)) is not None]
            unit.resources.put_all(saver.labelled(unit, drafts), now_us=now_us)
            if len(page) < _PAGE:
                return
            after = page[-1].place

    def _marked(self, stored: Stored, response: Stored) -> Draft | None:
        """The Consent as it is to be; None when it is so already, or is none of ours."""
        document = json_text.read(stored.body)
        consent = document.resource
        if str(consent.get("status")).strip().lower() != "active" or not names_our_form(consent):
            return None
        told = None if response.deleted else orjson.loads(response.body)
        missing = bool(missing_statements(consent, told, self._forms))
        if missing == untold(consent):
            return None
        extensions = marked_untold(consent, yes=missing)
        rest = {name: value for name, value in consent.items() if name != "extension"}
        body = json_text.with_last_member(document, "extension", extensions) if extensions else spliced(document, rest)
        made = {**rest, "extension": extensions} if extensions else rest
        return Draft(made, body, stored.method, stored.source, vouched_of(consent))

    def _check(self, unit: Unit, stored: Stored) -> None:
        consent = orjson.loads(stored.body)
        if str(consent.get("status")).strip().lower() != "active" or not names_our_form(consent):
            return
        source = consent.get("sourceReference")
        literal = source.get("reference") if isinstance(source, dict) else None
        type_, _, id_ = local(literal).partition("/") if isinstance(literal, str) else ("", "", "")
        found = unit.resources.get(type_, id_) if type_ == "QuestionnaireResponse" else None
        response = orjson.loads(found.body) if found is not None and not found.deleted else None
        missing = missing_statements(consent, response, self._forms)
        if missing:
            raise Invalid(
                "; ".join(missing), at="Consent.status", fix="record every statement, or keep the Consent proposed"
            )
