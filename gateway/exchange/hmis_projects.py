"""What the store knows of a source's projects: owner, type, funders, labels, whether they serve victims."""

from collections.abc import Iterator

from gateway.exchange.hmis_convert import Conversion
from gateway.exchange.hmis_rows import facts_of
from gateway.exchange.ports.rows import RowState, pages_of
from gateway.exchange.ports.store import Unit

_DERIVED = ("labels", "vsp", "funders")


def project_facts(unit: Unit, source: str, conversion: Conversion) -> Iterator[tuple[RowState, dict[str, str]]]:
    """Every stored project of the source, deleted ones too, with its facts as they follow from all stored rows.

    Labels follow mappings/hmis/projects.csv: the organization, the population that the project serves, its funders. An
    organization that is marked deleted goes on telling what its projects are while they name it.
    """
    organizations = {state.key: facts_of(state) for state in pages_of(unit.rows.page, source, "Organization")}
    funders: dict[str, list[str]] = {}
    for state in unit.rows.of_file(source, "Funder"):
        funders.setdefault(state.project, []).append(facts_of(state).get("Funder", ""))
    for state in pages_of(unit.rows.page, source, "Project"):
        facts = {name: value for name, value in facts_of(state).items() if name not in _DERIVED}
        owner = organizations.get(facts.get("OrganizationID", ""), {})
        codes = [code for code in dict.fromkeys(funders.get(state.key, ())) if code]
        labels = conversion.project_rules.labels(facts, owner, codes)
        facts |= {"labels": " ".join(sorted(labels)), "funders": " ".join(codes)}
        facts["vsp"] = "1" if conversion.project_rules.victims(owner) else ""
        yield state, facts
