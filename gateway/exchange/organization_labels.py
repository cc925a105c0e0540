"""What a stored Organization tells of the records that name it, and labelling these anew when that changes.

A referral *from* a shelter for survivors reveals why. Which organizations tell something is written on them: a
programme of ``terminology/sensitivity/sources.csv`` as a tag or type, or HMIS's own flag of a victim service provider.
Every record that names such an organization is labelled when it is written. When the flags of an Organization change,
the records that name it are labelled again in the same transaction, so that none leaves with the labels of before.
Where they are many the gate withholds them until a worker has done it (pending_labels.py), for writers would wait;
where several write at once, also until every transaction has ended that may know the Organization as it was.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Final

from gateway.consent.labels import Labeller, vouched_of
from gateway.consent.view import local
from gateway.exchange.pending_labels import DIRECTORY, LABELS, pend
from gateway.exchange.ports.resources import Draft, ResourceReader, Stored, parsed
from gateway.exchange.ports.store import Unit
from gateway.exchange.save import Saver
from gateway.exchange.search import LinkValue, Match
from gateway.kernel.fhir import DOORWAY, JsonObject, Resource, references_in
from gateway.profiles.search_parameters import Definitions

VICTIM_SERVICE: Final = "urn:doorway:programme:victim-service"
_NO: Final = frozenset({"0", "8", "9", "99"})  # HUD 1.8: no, or nobody knows
_COLUMN: Final = f"{DOORWAY}/StructureDefinition/hmis-column"
_FLAG: Final = "Organization.VictimServiceProvider"
_PAGE: Final = 500
AT_ONCE: Final = 200  # records that are labelled again in the transaction of the flag: a tenth of a second
_NOBODY: Final[frozenset[str]] = frozenset()


class OrganizationLabels:
    """Labels by stored Organizations: for the saver, and its follower.

    Args:
        labeller: the tables that say what a programme means.
        definitions: the search parameters by which records name organizations.
    """

    def __init__(self, labeller: Labeller, definitions: Definitions) -> None:
        self.labeller: Final = labeller
        self._definitions = definitions

    def told(self, unit: Unit, drafts: Sequence[Draft]) -> list[tuple[JsonObject, ...]]:
        """For each draft the labels that the Organizations tell which it names; one look for all of them."""
        named = [_named(draft.resource) if draft.may_name("Organization") else _NOBODY for draft in drafts]
        wanted = frozenset[str]().union(*named)
        flagged = self._flagged(unit, wanted) if wanted else {}
        return [self._codings(flagged, names) if flagged else () for names in named]

    def follow(self, saver: Saver, unit: Unit, written: Sequence[Stored], now_us: int) -> None:
        """A follower of the saver: what names an Organization whose flags have changed is labelled again."""
        for stored in written:
            if stored.type != "Organization" or stored.updated_us < now_us:
                continue
            before = (
                unit.resources.version("Organization", stored.id, stored.version - 1) if stored.version > 1 else None
            )
            now, then = self._flags(parsed(stored)), self._flags(parsed(before))
            if now != then:
                self._again(saver, unit, stored.reference, closes=bool(now - then), now_us=now_us)

    def _flagged(self, unit: Unit, references: Iterable[str]) -> dict[str, frozenset[str]]:
        found = unit.resources.many(references)
        flags = {reference: self._flags(parsed(stored)) for reference, stored in found.items()}
        return {reference: told for reference, told in flags.items() if told}

    def _flags(self, organization: Resource) -> frozenset[str]:
        """The sensitivities that its programmes mean; the law's closure (VSP) is for the provider's own records."""
        marks = set(_programmes(organization))
        sources = self.labeller.tables.sources
        labels = {one for mark in marks for prefix, labels in sources if mark.startswith(prefix) for one in labels}
        return frozenset(labels - {"VSP"})

    def _codings(self, flagged: Mapping[str, frozenset[str]], names: Iterable[str]) -> tuple[JsonObject, ...]:
        labels = frozenset[str]().union(*(flagged.get(name, ()) for name in names))
        return self.labeller.codings(labels, "organization") if labels else ()

    def _again(self, saver: Saver, unit: Unit, organization: str, *, closes: bool, now_us: int) -> None:
        named = list(islice(self.naming(unit.resources, organization), AT_ONCE + 1))
        if len(named) > AT_ONCE:
            pend(unit.resources, organization, closes=closes, now_us=now_us)
            return
        drafts = []
        for stored in named:
            resource = parsed(stored)
            made = Draft(resource, stored.body, stored.method, stored.source, vouched_of(resource))
            drafts.append(replace(made, over=stored.version))
        unit.resources.put_all(saver.labelled(unit, drafts), now_us=now_us)
        if unit.resources.under_way() is not None:  # another writer may have read the organization as it was before
            pend(unit.resources, organization, closes=closes, now_us=now_us)

    def naming(self, resources: ResourceReader, organization: str) -> Iterator[Stored]:
        """Every live record that names the organization, once."""
        seen: set[str] = set()
        for type_ in sorted(set(self._definitions.types) - DIRECTORY):
            for parameter in self._definitions.of(type_).values():
                if parameter.kind != "reference" or not {"Organization", "*"} & set(parameter.targets):
                    continue
                after = None
                while True:
                    named = Match(parameter, "", (LinkValue((organization,)),))
                    page = resources.candidates(type_, (named,), after=after, limit=_PAGE)
                    for one in page:
                        if one.stored.reference not in seen and one.stored.source != LABELS:
                            yield one.stored
                    seen |= {one.stored.reference for one in page}
                    if len(page) < _PAGE:
                        break
                    after = page[-1].place


def _named(resource: Resource) -> frozenset[str]:
    if resource.get("resourceType") in DIRECTORY:
        return frozenset()
    return frozenset(one for one in map(local, references_in(resource)) if one.startswith("Organization/"))


def _programmes(organization: Resource) -> Iterator[str]:
    meta = organization.get("meta")
    tags = meta.get("tag") if isinstance(meta, dict) else None
    kinds = [coding for concept in _objects(organization.get("type")) for coding in _objects(concept.get("coding"))]
    yield from (str(one.get("code", "")) for one in (*_objects(tags), *kinds))
    for extension in _objects(organization.get("extension")):
        if extension.get("url") == _COLUMN:
            parts = {str(part.get("url")): part for part in _objects(extension.get("extension"))}
            if parts.get("column", {}).get("valueCode") == _FLAG and _yes(parts.get("value", {})):
                yield VICTIM_SERVICE


def _yes(part: JsonObject) -> bool:
    """Whether it is said; an answer that cannot be read counts as yes, as it does in an import."""
    values = [value for name, value in part.items() if name.startswith("value")]
    codes = [value.get("code") if isinstance(value, dict) else value for value in values]
    return any(str(code) not in _NO for code in codes)


def _objects(node: Any) -> list[JsonObject]:
    return [one for one in node if isinstance(one, dict)] if isinstance(node, list) else []
