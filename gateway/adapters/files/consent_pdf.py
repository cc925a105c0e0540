"""The consent form as a PDF for the client, in English or French, with the version of its text on every page."""

from collections.abc import Mapping
from io import BytesIO
from string import Formatter
from typing import Any, Final
from xml.sax.saxutils import escape

from gateway.consent.forms import Form

_WORDS: Final[Mapping[str, Mapping[str, str]]] = {
    "en": {"title": "Agreement to share information", "sign": "Signature", "date": "Date", "witness": "Witness",
           "version": "Text version", "page": "page"},
    "fr": {"title": "Accord pour communiquer des renseignements", "sign": "Signature", "date": "Date",
           "witness": "Témoin", "version": "Version du texte", "page": "page"},
}  # fmt: skip
_BLANK: Final = "____________"


class _Blanks(Formatter):
    """Fills what is known and leaves a line to write on for the rest."""

    def get_value(self, key: int | str, args: Any, kwargs: Mapping[str, Any]) -> Any:
        """The value, or a blank line."""
        return kwargs.get(str(key), _BLANK)


def consent_pdf(form: Form, values: Mapping[str, str]) -> bytes:
    """The form with ``values`` filled in (agencies, dates, …); what is not given stays a line to write on."""
    from reportlab.lib.pagesizes import letter
    from reportlab.lib.styles import ParagraphStyle, getSampleStyleSheet
    from reportlab.platypus import Paragraph, SimpleDocTemplate, Spacer

    words, styles, out = _WORDS[form.language], getSampleStyleSheet(), BytesIO()
    body = ParagraphStyle("body", parent=styles["BodyText"], fontSize=11, leading=15)
    head = ParagraphStyle("head", parent=styles["Heading3"], spaceBefore=8, spaceAfter=2)
    story: list[Any] = [Paragraph(escape(words["title"]), styles["Title"])]
    for one in form.statements:
        text = _Blanks().vformat(one.text, (), values)
        story += [Paragraph(f"{one.number}. {escape(one.heading)}", head), Paragraph(escape(text), body)]
    story.append(Spacer(1, 24))
    for name in ("sign", "date", "witness"):
        story.append(Paragraph(f"{escape(words[name])}: {_BLANK * 3}", body))

    def foot(canvas: Any, document: Any) -> None:
        canvas.setFont("Helvetica", 8)
        canvas.drawString(54, 30, f"{words['version']}: {form.canonical}  -  {words['page']} {document.page}")

    made = SimpleDocTemplate(
        out, pagesize=letter, title=words["title"], author="Doorway", lang=form.language, invariant=1
    )
    made.build(story, onFirstPage=foot, onLaterPages=foot)
    return out.getvalue()
