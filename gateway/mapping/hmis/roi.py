"""The consent companion (Consent.csv, ROI.csv) as FHIR Consent, SDOHCC-Consent shape, and back.

full: permit; partial: permit of Level 1 only; revoked: inactive, ended on the day; declined: a denial. The agencies
stand in provision.actor, since SDOHCC allows one organization only: the one that executed the form.
"""

from typing import Any, Final

from gateway.kernel.fhir import ACT_REASON, DOORWAY, LEVEL, JsonObject, Resource
from gateway.mapping.hmis import values
from gateway.mapping.hmis.conversions import Binding, Cells, Forward, Inverse, Maker, Members, items, referenced
from gateway.mapping.hmis.people import RECORDED_DATE

COC_SYSTEM: Final = f"{DOORWAY}/hmis/coc"
POLICY: Final = f"{DOORWAY}/policy/hmis-release-of-information"
_ROLE: Final = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "code": "IRCP"}]}
_STATUS: Final = {"full": "active", "partial": "active", "revoked": "inactive", "declined": "rejected"}
UNLIMITED: Final = ("", "all", "all cocs", "all agencies")


def _listed(cell: str) -> list[str]:
    return [] if cell.strip().casefold() in UNLIMITED else [p.strip() for p in cell.split(";") if p.strip()]


def _roi(b: Binding) -> tuple[Forward, Inverse]:
    index = {slot.role: i for i, slot in enumerate(b.slots)}
    known = frozenset(b.spec.lists.get(next((slot.list for slot in b.slots if slot.role == "purposes"), ""), ()))

    def forward(cells: Cells) -> Members | list[Any] | None:
        said = {role: cells[i].strip() for role, i in index.items()}
        purposes = [_purpose(text, known) for text in _listed(said["purposes"])]
        status = said["status"].casefold()
        organization = (
            b.source.reference("Organization", said["organization"])
            if said["organization"]
            else {"reference": f"Organization/{b.source.id('Export', said['source'], 'Organization:source')}"}
        )
        members: JsonObject = {
            "status": _state(said, status),
            "organization": [organization],
            "policy": [{"uri": POLICY}],
            "provision": _provision(b, said, status, purposes),
        }
        signed = values.day_of(said["signed"]) or values.day_of(said["start"])
        if signed:
            members["dateTime"] = signed
        return members

    def inverse(resource: Resource) -> Cells:
        out = _said(resource)
        return tuple(out[slot.role] for slot in b.slots if slot.owned)

    return forward, inverse


def _state(said: dict[str, str], status: str) -> str:
    """Consent.status; what cannot be read is proposed only and permits nothing: no limit that was meant is lost."""
    if said["deleted"]:
        return "entered-in-error"
    stated = _STATUS.get(status, "proposed")
    undated = stated == "active" and not (said["start"] or said["signed"])  # nobody could say since when it holds
    return stated if _readable(said) and not undated else "proposed"


def _readable(said: dict[str, str]) -> bool:
    """Whether every limit of the form is understood: days are days, lists name somebody, the regime is explicit."""
    days = all(not said[role] or values.day_of(said[role]) for role in ("start", "end", "revoked"))
    lists = all(said[role].casefold() in UNLIMITED or _listed(said[role]) for role in ("agencies", "cocs", "purposes"))
    start = values.day_of(said["start"]) or ""
    order = all(start <= (values.day_of(said[role]) or "9999") for role in ("end", "revoked"))
    return days and lists and order and said.get("regime", "").casefold() in ("", "explicit")


def _purpose(text: str, known: frozenset[str]) -> JsonObject:
    """A purpose of use. Words that are no code of HL7's stay words: the engine knows that it cannot read them, so they
    permit nothing and a denial holds for every purpose; ``consent lint`` tells of them."""
    code = text if text in known else text.upper()
    return {"system": ACT_REASON, "code": code} if code in known else {"display": text}


def _provision(b: Binding, said: dict[str, str], status: str, purposes: list[JsonObject]) -> JsonObject:
    provision: JsonObject = {"type": "deny" if status == "declined" else "permit"}
    ends = [d for d in (values.day_of(said["end"]), values.day_of(said["revoked"])) if d]
    period = {"start": values.day_of(said["start"]), "end": min(ends) if ends else None}
    kept: JsonObject = {name: day for name, day in period.items() if day}
    if kept.get("start", "") > kept.get("end", "9999"):
        kept.pop("start")  # revoked before it began: it never held
    if kept:
        provision["period"] = kept
        planned = values.day_of(said["end"])
        if planned and planned != kept.get("end"):  # revoked before its end: the planned end is kept beside it
            kept["extension"] = [{"url": RECORDED_DATE, "valueDate": planned}]
    actors = [b.source.reference("Organization", key) for key in _listed(said["agencies"])]
    actors += [{"identifier": {"system": COC_SYSTEM, "value": code}} for code in _listed(said["cocs"])]
    if actors:
        provision["actor"] = [{"role": _ROLE, "reference": actor} for actor in actors]
    if purposes:
        provision["purpose"] = purposes
    if status == "partial":
        provision["securityLabel"] = [{"system": LEVEL, "code": "L1"}]
    return provision


def _said(resource: Resource) -> dict[str, str]:
    provision = resource.get("provision") or {}
    partial = any(label.get("system") == LEVEL for label in items(provision, "securityLabel"))
    state = resource.get("status")
    status = {"inactive": "revoked", "rejected": "declined"}.get(str(state), "partial" if partial else "full")
    references = [actor.get("reference") or {} for actor in items(provision, "actor")]
    cocs = [r["identifier"]["value"] for r in references if (r.get("identifier") or {}).get("system") == COC_SYSTEM]
    agencies = [referenced(r) for r in references if (r.get("identifier") or {}).get("system") != COC_SYSTEM]
    period = provision.get("period") or {}
    return {
        "status": "" if state == "proposed" else status,
        "start": str(period.get("start", "")),
        "end": next(
            (str(e.get("valueDate", "")) for e in items(period, "extension") if e.get("url") == RECORDED_DATE),
            str(period.get("end", "")),
        ),
        "agencies": ";".join(agencies),
        "cocs": ";".join(cocs),
        "purposes": ";".join(str(p.get("code") or p.get("display", "")) for p in items(provision, "purpose")),
        "organization": next((referenced(r) for r in items(resource, "organization")), ""),
        "signed": str(resource.get("dateTime", "")),
    }


NO_TITLE: Final = "release of information"


def _form(b: Binding) -> tuple[Forward, Inverse]:
    """Where the signed form is kept; SDOHCC-Consent wants a source even where the row names none."""

    def forward(cells: Cells) -> Members | list[Any] | None:
        return {"sourceAttachment": {"title": values.text_of(cells[0]) or NO_TITLE}}

    def inverse(resource: Resource) -> Cells:
        if not b.first.owned:
            return ()
        title = str((resource.get("sourceAttachment") or {}).get("title", ""))
        return ("" if title == NO_TITLE else title,)

    return forward, inverse


ROI: Final[dict[str, Maker]] = {"roi": _roi, "form": _form}
