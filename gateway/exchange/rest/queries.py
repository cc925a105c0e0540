"""Reading the search of a request: which parameters are taken, which are passed over, and how that is told."""

from collections.abc import Sequence
from typing import Final, Protocol, TypeAlias

from gateway.codecs import json_text
from gateway.exchange.rest.ask import Ask
from gateway.exchange.rest.issues import Issue
from gateway.exchange.search import Query, parse_query
from gateway.exchange.search_text import Codes
from gateway.kernel.errors import Invalid, Malformed
from gateway.profiles.search_parameters import Definitions

Pairs: TypeAlias = Sequence[tuple[str, str]]
CONTROLS: Final = frozenset(
    {"_count", "_sort", "_include", "_revinclude", "_total", "_summary", "_elements", "_has", "_contained",
     "_containedType", "_filter", "_query", "_text", "_content", "_list",
     "_page", "_offset", "_skip"}  # of other servers: who asks for the second page must not get the first again
)  # fmt: skip


class Seal(Protocol):
    """Makes page cursors opaque and binds them to their caller."""

    def close(self, text: str, client: str) -> str:
        """The cursor as the caller gets it."""
        ...

    def open(self, sealed: str, client: str) -> str:
        """The cursor inside.

        Raises:
            Invalid: not sealed by us for this client.
        """
        ...


def query_of(
    definitions: Definitions,
    type_: str,
    pairs: Pairs,
    ask: Ask,
    *,
    strict: bool,
    within: str = "",
    codes: Codes | None = None,
) -> Query:
    """The parsed search; an unknown ``_name`` is left out unless the caller asked for strictness.

    Raises:
        Malformed: a parameter or value that cannot be honoured; names it, never its value.
    """
    known = definitions.of(type_)
    kept = [
        (name, value)
        for name, value in pairs
        if ask.handling == "strict"
        or not name.startswith("_")
        or name.partition(":")[0] in CONTROLS
        or name.partition(":")[0].partition(".")[0] in known
    ]
    try:
        return parse_query(type_, kept, definitions, strict=strict, base=ask.base, within=within, codes=codes)
    except Invalid as error:
        raise Malformed(error.message, at=error.at, fix=error.fix) from None


def passed_over(names: Sequence[str]) -> bytes:
    """The OperationOutcome that names the parameters which lenient handling left out."""
    issues = [
        Issue("warning", "not-supported", "left out, since it is not supported", at=f"http.{name.partition(':')[0]}")
        if name.replace("_", "").replace("-", "").isalnum()
        else Issue("warning", "not-supported", "a parameter was left out, since it is not supported")
        for name in names
    ]
    return json_text.write({"resourceType": "OperationOutcome", "issue": [issue.as_fhir() for issue in issues]})
