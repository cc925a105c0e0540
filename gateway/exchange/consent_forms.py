"""A Consent on our form becomes active only when everything that had to be told is recorded against that very text."""

from collections.abc import Sequence
from csv import DictReader
from io import StringIO

import orjson

from gateway.consent.forms import LANGUAGES, Form, missing_statements, names_our_form, read_form
from gateway.consent.view import local
from gateway.exchange.disclose import ReadData
from gateway.exchange.ports.resources import Stored
from gateway.exchange.ports.store import Unit
from gateway.exchange.save import Saver
from gateway.kernel.errors import Invalid

JURISDICTIONS = ("us", "ca")


def read_forms(read_data: ReadData) -> tuple[Form, ...]:
    """Every form in every language."""
    return tuple(
        read_form(DictReader(StringIO(read_data(f"terminology/consent/forms/{one}.csv"))), one, language)
        for one in JURISDICTIONS
        for language in LANGUAGES
    )


class ConsentRule:
    """A follower of the Saver: it undoes the write of an active Consent whose form was not told in full."""

    def __init__(self, forms: Sequence[Form]) -> None:
        self._forms = tuple(forms)

    def __call__(self, saver: Saver, unit: Unit, stored: Sequence[Stored], now_us: int) -> None:
        """Check what was written.

        Raises:
            Invalid: an active Consent names our form and a statement is not recorded against the exact version.
        """
        for one in stored:
            if one.type == "Consent" and not one.deleted:
                self._check(unit, one)

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
