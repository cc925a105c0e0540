"""Values of search parameters: from the text of a query to what is compared (R4, 3.1.1.3 and 3.1.1.4)."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from gateway.kernel.errors import Invalid, Unsupported
from gateway.profiles.search_parameters import ANY, Parameter
from gateway.profiles.search_values import folded, precision_range, span_of

PREFIXES: Final = frozenset({"eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"})
VALUES_LIMIT: Final = 200


@dataclass(frozen=True, slots=True)
class TokenValue:
    """``system|code``; None means any, an empty system means none. ``code`` is in lower case."""

    system: str | None
    code: str | None


@dataclass(frozen=True, slots=True)
class OfTypeValue:
    """``:of-type``: an identifier of a type."""

    system: str
    code: str
    value: str


@dataclass(frozen=True, slots=True)
class TextValue:
    """A text, as written and folded."""

    text: str = field(repr=False)
    folded: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class DateValue:
    """A prefix and a half-open range of microseconds since 1970 UTC."""

    prefix: str
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class QuantityValue:
    """A prefix, a number with the range that its precision means, and a unit (None: any)."""

    prefix: str
    value: float
    low: float
    high: float
    system: str | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class LinkValue:
    """A reference: any of the targets (``Type/id`` or a URL), or an identifier."""

    targets: tuple[str, ...]
    identifier: TokenValue | None = None


@dataclass(frozen=True, slots=True)
class CompositeValue:
    """One value for each component, in their order."""

    parts: tuple["Value", ...]


Value: TypeAlias = TokenValue | OfTypeValue | TextValue | DateValue | QuantityValue | LinkValue | CompositeValue

# what a set or hierarchy of codes comes to: (parameter, modifier, one value, place) -> tokens (exchange/code_sets.py)
Codes: TypeAlias = Callable[[Parameter, str, str, str], tuple[TokenValue, ...]]
BY_CODES: Final = frozenset({"in", "not-in", "above", "below"})  # modifiers of tokens that need the codes themselves

# which modifiers each kind takes, :missing aside
MODIFIERS: Final = {
    "token": frozenset({"not", "text", "of-type"}),
    "string": frozenset({"exact", "contains"}),
    "reference": frozenset({"identifier"}),
    "uri": frozenset({"below", "above"}),
    "date": frozenset[str](),
    "number": frozenset[str](),
    "quantity": frozenset[str](),
    "composite": frozenset[str](),
}
_PREFIXED: Final = re.compile(r"(eq|ne|gt|lt|ge|le|sa|eb|ap)?(.*)", re.DOTALL)


def read_values(
    parameter: Parameter, modifier: str, text: str, *, at: str, base: str = "", codes: Codes | None = None
) -> tuple[str, tuple[Value, ...]]:
    """The modifier that counts and the values, any of which may match.

    ``codes`` turns the value of ``:in``, ``:not-in``, ``:above`` and ``:below`` into tokens; without it these are not
    taken.

    Raises:
        Invalid: a modifier that this kind of parameter does not take, or a value that cannot be read.
    """
    type_ = ""
    if parameter.kind == "reference" and modifier[:1].isupper():
        if ANY not in parameter.targets and modifier not in parameter.targets:
            raise Invalid(f"does not refer to {modifier}", at=at)
        type_, modifier = modifier, ""
    by_codes = codes is not None and parameter.kind == "token" and modifier in BY_CODES
    if modifier and not by_codes and modifier not in MODIFIERS[parameter.kind]:
        raise Invalid("this modifier cannot be honoured here", at=at)
    parts = split(text, ",")
    if len(parts) > VALUES_LIMIT:
        raise Invalid("too many values", at=at, fix=f"at most {VALUES_LIMIT}")
    if by_codes and codes is not None:
        tokens = dict.fromkeys(token for part in parts for token in codes(parameter, modifier, part, at))
        return "not" if modifier == "not-in" else "", tuple(tokens)
    reader = _Reader(at, base, type_)
    return modifier, tuple(reader.value(parameter, modifier, part) for part in parts)


def split(text: str, mark: str) -> list[str]:
    """Cut at ``mark`` where it is not escaped by a backslash; escapes stay for the next cut."""
    parts: list[str] = []
    current: list[str] = []
    escaped = False
    for letter in text:
        if letter == mark and not escaped:
            parts.append("".join(current))
            current = []
            continue
        escaped = letter == "\\" and not escaped
        current.append(letter)
    return [*parts, "".join(current)]


def token(system: str, code: str) -> str:
    """``system|code`` as a search writes it, marks within escaped (R4 3.1.1.4.0.3)."""
    return "|".join("".join(f"\\{c}" if c in "\\,|$" else c for c in part) for part in (system, code))


def unescaped(text: str) -> str:
    """R4 3.1.1.3: ``\\,``, ``\\$``, ``\\|`` and ``\\\\`` stand for themselves."""
    return re.sub(r"\\([,$|\\])", r"\1", text)


class _Reader:
    """Reads single values."""

    def __init__(self, at: str, base: str, type_: str) -> None:
        self._at = at
        self._base = base
        self._type = type_

    def value(self, parameter: Parameter, modifier: str, text: str) -> Value:
        """One value by the kind of its parameter."""
        if text == "":
            raise Invalid("a value is wanted", at=self._at)
        if "\x00" in text:
            raise Invalid("a NUL character", at=self._at)
        match parameter.kind:
            case "token":
                if parameter.code == "_id":  # ids are compared as they are written
                    return TokenValue(None, text)
                return self._token_or_text(modifier, text)
            case "string" | "uri":
                plain = unescaped(text)
                return TextValue(plain, folded(plain))
            case "date":
                return self._date(text)
            case "number" | "quantity":
                return self._quantity(parameter.kind, text)
            case "reference":
                return self._link(parameter, modifier, text)
            case "composite":
                return self._composite(parameter, text)
        raise Unsupported("this kind of parameter", at=self._at)

    def _token_or_text(self, modifier: str, text: str) -> Value:
        if modifier == "text":
            return TextValue(unescaped(text), folded(unescaped(text)))
        if modifier == "of-type":
            parts = [unescaped(part) for part in split(text, "|")]
            if len(parts) != 3 or not all(parts):
                raise Invalid("system|code|value is wanted", at=self._at)
            return OfTypeValue(parts[0], parts[1].casefold(), parts[2].casefold())
        return self._token(text)

    def _token(self, text: str) -> TokenValue:
        system, bar, code = _cut(text, "|")
        if not bar:
            return TokenValue(None, unescaped(text).casefold())
        if not system and not code:
            raise Invalid("a code or a system is wanted", at=self._at)
        return TokenValue(unescaped(system), unescaped(code).casefold() or None)

    def _date(self, text: str) -> DateValue:
        found = _PREFIXED.fullmatch(text)
        span = span_of(found[2].replace(" ", "+")) if found else None  # a + that a URL decoder took for a space
        if found is None or span is None:
            raise Invalid("not a date", at=self._at, fix="write [prefix]YYYY[-MM[-DD[Thh:mm[:ss][Z|+hh:mm]]]]")
        return DateValue(found[1] or "eq", *span)

    def _quantity(self, kind: str, text: str) -> QuantityValue:
        parts = [unescaped(part) for part in split(text, "|")]
        found = _PREFIXED.fullmatch(parts[0])
        known = precision_range(found[2]) if found else None
        if found is None or known is None or len(parts) not in ((1,) if kind == "number" else (1, 3)):
            fix = "write [prefix]number" + ("" if kind == "number" else "[|system|code]")
            raise Invalid("not a number", at=self._at, fix=fix)
        system = (parts[1] or None) if len(parts) == 3 else None
        code = (parts[2] or None) if len(parts) == 3 else None
        return QuantityValue(found[1] or "eq", *known, system, code)

    def _link(self, parameter: Parameter, modifier: str, text: str) -> LinkValue:
        if modifier == "identifier":
            return LinkValue((), self._token(text))
        target = unescaped(text).removeprefix(self._base).split("/_history/")[0]
        if self._type:
            if "/" in target and not target.startswith(f"{self._type}/"):
                raise Invalid("the reference is of another type than the modifier", at=self._at)
            return LinkValue((target if "/" in target else f"{self._type}/{target}",))
        if "/" in target or ":" in target:
            return LinkValue((target,))
        types = _TYPES if ANY in parameter.targets else parameter.targets
        return LinkValue((*(f"{type_}/{target}" for type_ in types), target))

    def _composite(self, parameter: Parameter, text: str) -> CompositeValue:
        parts = split(text, "$")
        if len(parts) != len(parameter.components):
            fix = "write " + "$".join(component.code for component in parameter.components)
            raise Invalid("another number of parts is wanted", at=self._at, fix=fix)
        pairs = zip(parameter.components, parts, strict=True)
        return CompositeValue(tuple(self.value(component, "", part) for component, part in pairs))


def _cut(text: str, mark: str) -> tuple[str, str, str]:
    parts = split(text, mark)
    return (parts[0], mark, mark.join(parts[1:])) if len(parts) > 1 else (text, "", "")


# what a bare id may belong to when the parameter says any type: what lives in this gateway
_LIVE_HERE: Final = """
Account AllergyIntolerance Appointment AuditEvent Basic Binary Bundle CarePlan CareTeam Communication Composition
Condition Consent Coverage Device DiagnosticReport DocumentReference Encounter EpisodeOfCare Flag Goal Group
HealthcareService Immunization List Location Medication MedicationRequest MedicationStatement Observation Organization
OrganizationAffiliation Patient Person Practitioner PractitionerRole Procedure Provenance Questionnaire
QuestionnaireResponse RelatedPerson ServiceRequest Specimen Subscription Task
"""
_TYPES: Final = tuple(_LIVE_HERE.split())
