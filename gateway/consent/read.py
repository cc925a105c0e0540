"""From a Consent resource to rules: every element typed and inherited, what cannot be honoured made to deny."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from typing import Any, Final, TypeAlias

from gateway.consent.codes import RANK, UNREAD, Vocabulary, codings_in, keys_of, prefixes_of, stated_keys
from gateway.consent.dialects import DIALECTS, Dialect, dialect_of
from gateway.consent.forms import form_of, untold
from gateway.consent.intake import Intake, take_in
from gateway.consent.rules import DataGroup, Directive, Enforcement, Named, RequestGroup, Rule, Span
from gateway.consent.times import bounds_of
from gateway.consent.view import MEDIA_TYPES, RESOURCE_TYPES, local
from gateway.kernel.errors import DoorwayError
from gateway.kernel.fhir import ACT_CODE, ACT_REASON, CONFIDENTIALITY, JsonObject

_POLICY_BASE: Final = {  # v3 ActConsentDirective -> effect of the policy; others leave it to the domain
    "OPTIN": True, "OPTINR": True, "OPTOUT": False, "OPTOUTE": False, "EMRGONLY": False, "NOPP": False,
}  # fmt: skip
_TYPE_SYSTEMS: Final = (RESOURCE_TYPES, "http://hl7.org/fhir/fhir-types", "http://hl7.org/fhir/ValueSet/resource-types")
_MEANINGS: Final = frozenset({"instance", "related", "dependents", "authoredby"})
_GOOGLE: Final = "https://g.co/fhir/medicalrecords/"
Stated: TypeAlias = tuple[tuple[str, tuple[object, ...]], ...]  # element -> what it says, as written


@dataclass(slots=True)
class _Reader:
    """What the parts of one reading share."""

    intake: Intake
    dialect: Dialect
    vocabulary: Vocabulary
    zone: tzinfo
    contained: dict[str, JsonObject] = field(default_factory=dict)

    def note(self, text: str) -> None:
        """Say what was assumed."""
        self.intake.notes.append(text)


def read_consent(
    consent: Any, *, zone: tzinfo, vocabulary: Vocabulary, dialect: str = "", base_permit: bool = False, name: str = ""
) -> Directive:
    """What a Consent says. Never raises: what cannot be read becomes a directive that denies, with the reason.

    Args:
        consent: the parsed resource, R4 or R5.
        zone: the civil zone in which its dates are meant.
        dialect: how to read it; empty: as the Consent itself shows.
        base_permit: the effect that the domain gives to a root without type and policy.
        name: what to call a Consent without an id.
    """
    try:
        intake = take_in(consent)
    except (RecursionError, AttributeError, TypeError, ValueError) as error:
        intake = Intake({}, {}, broken=[f"cannot be read ({type(error).__name__})"])
    wanted = dialect or dialect_of(intake.consent)
    reader = _Reader(intake, DIALECTS[wanted], vocabulary, zone)
    held = intake.consent.get("contained")
    reader.contained = {f"#{c.get('id')}": c for c in (held if isinstance(held, list) else ()) if isinstance(c, dict)}
    rules: tuple[Rule, ...] = ()
    try:
        rules = tuple(_roots(reader, base_permit))
    except (DoorwayError, RecursionError, AttributeError, TypeError, ValueError) as error:
        # a shape nobody foresaw must deny, not stop the decision of everything else
        intake.broken.append(f"cannot be read ({type(error).__name__})")
    return _directive(reader, rules, name)


def _directive(reader: _Reader, rules: tuple[Rule, ...], name: str) -> Directive:
    intake, consent = reader.intake, reader.intake.consent
    patients, everyone = _patients(reader)
    if not patients and not everyone:
        intake.broken.append("patient names nobody")
    status = (
        Enforcement.INACTIVE if intake.active is False
        else Enforcement.QUARANTINED if intake.broken
        else Enforcement.UNSUPPORTED if intake.unsupported
        else Enforcement.ENFORCEABLE
    )  # fmt: skip
    id_ = consent.get("id")
    meta = consent.get("meta")
    version = meta.get("versionId") if isinstance(meta, dict) else None
    starts = max((span[0] for rule in rules[:1] for span in rule.request.periods if span[0] is not None), default=None)
    return Directive(
        consent=f"Consent/{id_}" if isinstance(id_, str) and id_ else name or "Consent",
        version=version if isinstance(version, str) else "",
        status=status,
        dialect=reader.dialect,
        rules=rules,
        patients=patients,
        for_everyone=everyone,
        categories=frozenset((*keys_of(consent.get("scope")), *keys_of(consent.get("category")))),
        organizations=_references(consent.get("organization")),
        form=_form(consent),
        given_us=_first(reader, consent.get("dateTime")),
        starts=starts,
        replaces=_replaces(consent),
        verified=_verified(consent),
        withdraws=intake.withdraws and not _only_denies(reader, rules),
        untold=untold(consent),
        warnings=tuple(dict.fromkeys((*intake.broken, *intake.unsupported, *intake.notes))),
    )


def _patients(reader: _Reader) -> tuple[frozenset[str], bool]:
    consent = reader.intake.consent
    extensions = consent.get("extension")
    admin = any(
        isinstance(e, dict) and e.get("url") in (f"{_GOOGLE}ConsentAdminPolicy", f"{_GOOGLE}CascadingPolicy")
        for e in (extensions if isinstance(extensions, list) else ())
    )
    node = consent.get("patient")
    if isinstance(node, str):
        reader.note("patient: a bare reference was put into its element")
        node = {"reference": node}
    named = _named(reader, [{"reference": node}]) if isinstance(node, dict) else Named()
    return named.keys, admin and not named.keys


def _form(consent: JsonObject) -> str:
    """The form that was signed: one of ours, source reference, attachment address or hash, else the policies named.

    On a form of ours the source is what was told to this client on that day, another one each time it is signed.
    """
    policies = consent.get("policy")
    uris = [p.get("uri") for p in policies if isinstance(p, dict)] if isinstance(policies, list) else []
    ours = next((form for uri in uris if isinstance(uri, str) and (form := form_of(uri))), "")
    if ours:
        return ours
    source = consent.get("sourceReference")
    if isinstance(source, dict) and isinstance(source.get("reference"), str):
        return str(source["reference"])
    attachment = consent.get("sourceAttachment")
    if isinstance(attachment, list) and attachment:  # R5 allows several
        attachment = attachment[0]
    if isinstance(attachment, dict):
        for part in ("hash", "url"):
            if isinstance(attachment.get(part), str):
                return str(attachment[part])
    return " ".join(sorted(uri for uri in uris if isinstance(uri, str)))


def _replaces(consent: JsonObject) -> frozenset[str]:
    found: set[str] = set()
    extensions = consent.get("extension")
    for extension in extensions if isinstance(extensions, list) else ():
        url = extension.get("url") if isinstance(extension, dict) else None
        if isinstance(url, str) and url.rpartition("/")[2] in ("replaces", "workflow-replaces", "artifact-replaces"):
            value = extension.get("valueReference")
            literal = value.get("reference") if isinstance(value, dict) else None
            literal = literal or extension.get("valueCanonical") or extension.get("valueUri")
            if isinstance(literal, str):
                found.add(local(literal))
    return frozenset(found)


def _verified(consent: JsonObject) -> bool | None:
    entries = consent.get("verification")
    said = [e.get("verified") for e in entries if isinstance(e, dict)] if isinstance(entries, list) else []
    return None if not said else any(value is True for value in said)


def _only_denies(reader: _Reader, rules: tuple[Rule, ...]) -> bool:
    """Whether it states a denial and nothing else: one that was ended takes no permission back."""
    stated = "type" in reader.intake.provision or _policy_base(reader.intake.consent) is not None
    return stated and not any(rule.permit for root in rules for rule in root.walk())


def _first(reader: _Reader, text: Any) -> int | None:
    try:
        return bounds_of(text, reader.zone)[0] if isinstance(text, str) else None
    except DoorwayError:
        reader.note("dateTime cannot be read")
        return None


def _references(node: Any) -> frozenset[str]:
    nodes = node if isinstance(node, list) else [node]
    return frozenset(
        local(n["reference"]) for n in nodes if isinstance(n, dict) and isinstance(n.get("reference"), str)
    )


# ---- provisions


def _roots(reader: _Reader, base_permit: bool) -> Iterator[Rule]:
    node, consent = reader.intake.provision, reader.intake.consent
    root_path = "decision" if reader.intake.from_r5 else "provision"
    policy = _policy_base(consent)
    request, data, stated = _groups(reader, node, root_path, nested=False)
    kind = node.get("type")
    if isinstance(kind, str):
        yield _rule(reader, node, kind == "permit", root_path, request, data, stated)
        return
    base = base_permit if policy is None else policy
    path = "policyRule" if policy is not None else "provision"
    if policy is not None and _is_exception(reader, request, data, base, node):
        reader.note("provision has criteria and no type: read as an exception to the policy")
        exception = _rule(reader, node, not base, "provision", request, data, stated)
        own = RequestGroup(periods=request.periods, period_unreadable=request.period_unreadable)
        yield Rule(base, path, own, DataGroup(), (exception,))
        return
    if policy is None and node:
        reader.note("provision has no type and there is no policy: the domain's base was taken")
    made = _rule(reader, node, base, "provision" if node else path, request, data, stated)
    closed = reader.dialect.narrative and base and made.children and all(c.permit for c in made.children)
    if closed and data.empty and request.actors is None and request.purposes is None:
        reader.note("provision only holds permissions: nothing else is permitted")
        yield from made.children
        return
    if base and any(child.permit and child.data.empty for child in made.children):
        reader.note("a nested permission under a permitting base adds nothing")
    yield made


def _is_exception(reader: _Reader, request: RequestGroup, data: DataGroup, base: bool, node: JsonObject) -> bool:
    if not data.empty:
        return True
    if reader.dialect.narrative:
        if request.custodians is not None and request.purposes is None:
            return base and request.actors is None  # withheld at a custodian, whatever the policy: it denies
        return request.purposes is not None or (request.actors is not None and base)
    return request.actors is not None


def _policy_base(consent: JsonObject) -> bool | None:
    for key in keys_of(consent.get("policyRule")):
        system, _, code = key.rpartition("|")
        if code in _POLICY_BASE and system in ("", ACT_CODE):
            return _POLICY_BASE[code]
    return None


def _rule(
    reader: _Reader, node: JsonObject, permit: bool, path: str, request: RequestGroup, data: DataGroup, stated: Stated,
    inherited: tuple[DataGroup, Stated] | None = None,
) -> Rule:  # fmt: skip
    below = inherited if data.empty else (data, stated)
    if data.empty and permit and inherited is not None:
        data, stated = inherited  # a permission is narrowed by silence, a denial never
    children = []
    for index, child in enumerate(node.get("provision", ())):
        at = f"provision[{index}]" if path == "decision" else f"{path}.provision[{index}]"
        own_request, own_data, own_stated = _groups(reader, child, at, nested=True)
        effect = _effect_of(reader, child, permit, at)
        if reader.dialect.narrative and effect != permit and _repeats(child, node):
            reader.note(f"{at} repeats its parent: read as what holds otherwise")
            continue
        children.append(_rule(reader, child, effect, at, own_request.below(request), own_data, own_stated, below))
    return Rule(permit, path, request, data, tuple(children), stated)


def _effect_of(reader: _Reader, node: JsonObject, parent: bool, at: str) -> bool:
    if reader.dialect.flip:
        return not parent
    kind = node.get("type")
    if not isinstance(kind, str):
        if reader.dialect.narrative:  # the examples list more of the same (Patients Know Best)
            reader.note(f"{at} has no type: read as its parent's")
            return parent
        reader.note(f"{at} has no type: read as the opposite of its parent")
        return not parent
    return kind == "permit"


def _repeats(child: JsonObject, parent: JsonObject) -> bool:
    """Whether a nested provision states nothing that its parent does not state too."""
    own = {name for name, value in child.items() if value and name not in ("type", "provision", "id")}
    return bool(own) and all(child[name] == parent.get(name) for name in own)


def _groups(reader: _Reader, node: JsonObject, at: str, *, nested: bool) -> tuple[RequestGroup, DataGroup, Stated]:
    receivers, custodians, authors = _actors(reader, node.get("actor"), at)
    span, unreadable = _period(reader, node.get("period"), f"{at}.period")
    window, window_unreadable = _period(reader, node.get("dataPeriod"), f"{at}.dataPeriod")
    if reader.dialect.period_is_data and nested and (span is not None or unreadable):
        window, window_unreadable, span, unreadable = span, unreadable, None, False
    codes = frozenset(stated_keys(node["code"])) if node.get("code") else None
    asked_codes = None
    if reader.dialect.code_is_asked:
        codes, asked_codes = None, codes
    extra = dict(_extensions(node))
    actions = [key.rpartition("|")[2].lower() for key in stated_keys(node["action"])] if node.get("action") else None
    request = RequestGroup(
        periods=() if span is None else (span,),
        period_unreadable=unreadable,
        actors=receivers,
        custodians=custodians,
        actions=None if actions is None else frozenset(actions),
        purposes=_purposes(reader, node),
        environments=extra.get("Environment"),
        asked_codes=asked_codes,
    )
    labels, confidentiality = _labels(reader, node)
    data = DataGroup(
        classes=_classes(node),
        codes=codes,
        code_prefixes=prefixes_of(codes or ()),
        labels=labels,
        confidentiality=confidentiality,
        period=window,
        period_unreadable=window_unreadable,
        data=_data(reader, node, at),
        authors=authors,
        sources=extra.get("DataSource"),
        tags=extra.get("DataTag"),
        unreadable="expression" in node,
        union=reader.dialect.union,
    )
    coded = ("securityLabel", "class", "resourceType", "documentType", "code")
    stated: Stated = tuple((name, tuple(codings_in(node[name]))) for name in coded if node.get(name))
    stated += tuple((name, (node[name],)) for name in ("dataPeriod",) if node.get(name))
    named = [
        {"meaning": "authoredby", "reference": {"reference": r}} for r in sorted(authors.references if authors else ())
    ]
    if node.get("data") or named:
        stated += (("data", (*(node.get("data") or ()), *named)),)
    return request, data, stated


def _purposes(reader: _Reader, node: JsonObject) -> frozenset[str] | None:
    if not node.get("purpose"):
        return None
    found: set[str] = set()
    for key in stated_keys(node["purpose"]):
        system, _, code = key.rpartition("|")
        if key == UNREAD:
            found.add(UNREAD)
        elif system == ACT_REASON or (not system and reader.vocabulary.knows(f"{ACT_REASON}|{code}")):
            found.add(f"{ACT_REASON}|{code}")
        else:
            found |= {key, f"|{code}"}
    return frozenset(found)


def _labels(reader: _Reader, node: JsonObject) -> tuple[frozenset[str] | None, frozenset[str]]:
    if not node.get("securityLabel"):
        return None, frozenset()
    ranks: set[str] = set()
    found: set[str] = set()
    for key in stated_keys(node["securityLabel"]):
        system, _, code = key.rpartition("|")
        if key == UNREAD:
            found.add(UNREAD)
        elif (system == CONFIDENTIALITY and code in RANK) or (not system and code in RANK):
            ranks.add(code)
        elif reader.dialect.exact_label:
            found.add(key)
        else:
            found |= reader.vocabulary.self_and_below(key if system else f"{ACT_CODE}|{code}")
    return frozenset(found), frozenset(ranks)


def _classes(node: JsonObject) -> tuple[frozenset[str], ...] | None:
    groups = [
        frozenset(key for stated in stated_keys(node[name]) for key in _class_keys(stated))
        for name in ("class", "resourceType", "documentType")
        if node.get(name)
    ]
    return tuple(groups) or None


def _class_keys(key: str) -> Iterator[str]:
    system, _, code = key.rpartition("|")
    if system in _TYPE_SYSTEMS or (not system and code[:1].isupper() and code.isalpha()):
        yield f"{RESOURCE_TYPES}|{code}"
    elif system == MEDIA_TYPES:
        yield f"{MEDIA_TYPES}|{code.lower()}"
    elif code.startswith(("http://", "https://", "urn:")):
        yield code.split("|")[0]  # a profile
    elif system.startswith("http://hl7.org/fhir/StructureDefinition"):
        yield f"{RESOURCE_TYPES}|{code}"
        yield f"{system}/{code}"
    elif key:
        yield key


_PERIOD: Final = frozenset({"start", "end", "id", "extension"})


def _period(reader: _Reader, node: Any, at: str) -> tuple[Span | None, bool]:
    """The closed interval of a Period, and whether it is there but cannot be read."""
    if node is None:
        return None, False
    if not isinstance(node, dict):
        reader.note(f"{at} cannot be read: it counts as unknown")
        return None, True
    start, end = node.get("start"), node.get("end")
    try:
        first = bounds_of(start, reader.zone)[0] if start is not None else None
        last = bounds_of(end, reader.zone)[1] if end is not None else None
    except (DoorwayError, AttributeError, TypeError):
        reader.note(f"{at} cannot be read: it counts as unknown")
        return None, True
    strange = set(node) - _PERIOD
    if strange and (first is None or last is None):  # a bound may be meant that nobody can read
        reader.note(f"{at}.{min(strange)} is not understood: the period counts as unknown")
        return None, True
    if first is None and last is None:
        return None, False
    if first is not None and last is not None and first > last:
        reader.note(f"{at} ends before it starts: it never holds")
    return (first, last), False


def _actors(reader: _Reader, nodes: Any, at: str) -> tuple[Named | None, Named | None, Named | None]:
    """Receivers, custodians and authors among the actors of a provision; None where none is stated."""
    kinds: dict[str, list[Any]] = {"receiver": [], "custodian": [], "author": []}
    for actor in nodes or ():
        if not isinstance(actor, dict):
            kinds["receiver"].append(None)
            continue
        codes = [key.rpartition("|")[2] for key in keys_of(actor.get("role"))]
        found = {reader.vocabulary.roles.get(code, "") for code in codes}
        if not codes or "receiver" in found:
            kinds["receiver"].append(actor)
        elif "custodian" in found:
            kinds["custodian"].append(actor)
        elif "author" in found:
            kinds["author"].append(actor)
        elif "party" in found:
            reader.note(f"{at}.actor: a party to the consent is not a recipient")
        else:
            reader.note(f"{at}.actor: role not known, so nobody can tell whether it receives")
            kinds["receiver"].append(None)
    receivers, custodians, authors = (
        _named(reader, kinds[kind]) if kinds[kind] else None for kind in ("receiver", "custodian", "author")
    )
    if nodes and receivers is None and custodians is None and authors is None:
        receivers = None
    return receivers, custodians, authors


def _named(reader: _Reader, actors: list[Any]) -> Named:
    references: set[str] = set()
    identifiers: set[str] = set()
    unreadable = False
    for actor in actors:
        node = actor.get("reference") if isinstance(actor, dict) else None
        node = node if isinstance(node, dict) else {}
        literal = node.get("reference")
        found = list(_identifiers(node.get("identifier")))
        if isinstance(literal, str) and literal.startswith("#"):
            held = reader.contained.get(literal, {})
            found += list(_identifiers(held.get("identifier")))
        elif isinstance(literal, str) and literal.strip():
            references.add(local(literal))
            found = found or []
        identifiers |= set(found)
        if not found and not (isinstance(literal, str) and literal.strip() and not literal.startswith("#")):
            unreadable = True
    return Named(frozenset(references), frozenset(identifiers), unreadable)


def _identifiers(node: Any) -> Iterator[str]:
    for one in node if isinstance(node, list) else [node]:
        if isinstance(one, dict) and isinstance(one.get("value"), str):
            yield f"{one.get('system', '')}|{one['value']}"


def identifiers_of(resource: JsonObject) -> frozenset[str]:
    """``system|value`` of every identifier of a resource."""
    return frozenset(_identifiers(resource.get("identifier")))


def _data(reader: _Reader, node: JsonObject, at: str) -> tuple[tuple[str, frozenset[str]], ...] | None:
    if not node.get("data"):
        return None
    found: dict[str, set[str]] = {}
    for entry in node["data"]:
        entry = entry if isinstance(entry, dict) else {}
        meaning, target = entry.get("meaning", "instance"), entry.get("reference")
        if meaning not in _MEANINGS:
            reader.note(f"{at}.data: meaning not known, it counts as unknown")
            meaning = "unknown"
        literal = target.get("reference") if isinstance(target, dict) else None
        keys = {local(literal)} if isinstance(literal, str) else set(_identifiers((target or {}).get("identifier")))
        found.setdefault(meaning if keys else "unknown", set()).update(keys)
    return tuple((meaning, frozenset(keys)) for meaning, keys in sorted(found.items()))


def _extensions(node: JsonObject) -> Iterator[tuple[str, frozenset[str]]]:
    """Google's criteria: environment of the caller, source and tag of the data."""
    found: dict[str, set[str]] = {}
    extensions = node.get("extension")
    for extension in extensions if isinstance(extensions, list) else ():
        url = extension.get("url") if isinstance(extension, dict) else None
        if not isinstance(url, str) or not url.startswith(_GOOGLE):
            continue
        values = found.setdefault(url.removeprefix(_GOOGLE), set())
        for name, value in extension.items():
            if name in ("valueUri", "valueString", "valueUrl") and isinstance(value, str):
                values.add(value)
            elif name in ("valueCoding", "valueCodeableConcept"):
                for key in keys_of(value):
                    values |= {key, key.replace("|", "/")}
    for name, keys in found.items():
        yield name, frozenset(keys)


def flattened(directive: Directive) -> Directive:
    """Every provision as a directive of its own (Google's dialect): no exceptions, deny wins over permit."""
    alone = [rule.without_children() for root in directive.rules for rule in root.walk()]
    if directive.dialect.needs_actor:
        alone = [rule for rule in alone if rule.request.actors is not None]
    return replace(directive, rules=tuple(alone))
