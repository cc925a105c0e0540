"""The same model for Splink: settings with our ladders as SQL, traits as columns, weights back (no import).

Splink counts levels from ``else`` (0) upwards and calls a null level -1; its JSON is read by label, not by number.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from gateway.linkage.ladders import COMPARISONS
from gateway.linkage.model import ELSE, UNKNOWN, Comparison, Model
from gateway.linkage.traits import Traits

TEXT_COLUMNS: Final = (
    "given", "given_sound", "middle", "last", "last_sound", "suffix", "year", "month", "day", "dob", "sex", "ssn",
    "ssn4", "health", "health_of", "phone", "address", "city", "postal",
)  # fmt: skip
LIST_COLUMNS: Final = ("givens", "roots", "parts", "lasts")
BLOCKING: Final = (  # where both sides of a wrong trait still meet; each is one EM session and part of prediction
    "l.dob = r.dob AND l.dob <> ''",
    "l.last = r.last AND l.given_sound = r.given_sound AND l.last <> '' AND l.given <> ''",
    "l.phone = r.phone AND l.phone <> ''",
    "l.ssn4 = r.ssn4 AND l.ssn4 <> '' AND l.year = r.year",
    "l.health = r.health AND l.health <> ''",
)


def settings_of(model: Model, *, two_files: bool) -> dict[str, Any]:
    """Splink settings (a dict, as its JSON) with the model's ladders and weights as the start."""
    return {
        "link_type": "link_only" if two_files else "dedupe_only",
        "unique_id_column_name": "unique_id",
        "probability_two_random_records_match": 1e-4,
        "blocking_rules_to_generate_predictions": list(BLOCKING),
        "retain_intermediate_calculation_columns": True,
        "retain_matching_columns": False,
        "comparisons": [_comparison(c) for c in model.comparisons],
    }


def _comparison(comparison: Comparison) -> dict[str, Any]:
    known = COMPARISONS[comparison.name]
    levels: list[dict[str, Any]] = [
        {"sql_condition": known[UNKNOWN].sql, "label_for_charts": UNKNOWN, "is_null_level": True}
    ]
    for weight in comparison.levels:
        condition = "ELSE" if weight.level == ELSE else known[weight.level].sql
        levels.append(
            {
                "sql_condition": condition,
                "label_for_charts": weight.level,
                "m_probability": weight.m,
                "u_probability": weight.u,
                "fix_m_probability": weight.m == weight.u,  # never evidence
                "fix_u_probability": weight.m == weight.u,
            }
        )
    return {"output_column_name": f"c_{comparison.name}", "comparison_levels": levels}


def rows_of(people: Sequence[Traits]) -> Iterator[dict[str, Any]]:
    """The columns that the SQL of the ladders reads; people whose source calls a value approximate lose that value."""
    for person in people:
        row: dict[str, Any] = {"unique_id": person.key}
        hard = _hard(person)
        row |= {name: getattr(hard, name) for name in TEXT_COLUMNS}
        row |= {name: sorted(getattr(hard, name)) for name in LIST_COLUMNS}
        row["soft_dob"] = False
        yield row


def _hard(person: Traits) -> Traits:
    """Without the values that may agree but not disagree: their levels would teach the wrong m."""
    none: frozenset[str] = frozenset()
    if person.soft_name:
        person = replace(
            person, given="", givens=none, roots=none, given_sound="", middle="", last="", parts=none, lasts=none,
            last_sound="",
        )  # fmt: skip
    if person.soft_dob:
        person = replace(person, year="", month="", day="", dob="")
    return replace(person, ssn="", ssn4="") if person.soft_ssn else person


def model_from(model: Model, trained: Mapping[str, Any], *, name: str, about: Mapping[str, Any]) -> Model:
    """Our model with the m and u of Splink's saved settings; a level that it never saw keeps what it had, smoothed.

    Args:
        trained: what ``save_model_to_json`` gives.
        about: what to tell of the training (versions, records, day).
    """
    comparisons = []
    unseen: list[str] = []
    told_of = {str(c.get("output_column_name", "")): c for c in trained["comparisons"]}
    for comparison in model.comparisons:
        found = told_of.get(f"c_{comparison.name}", {"comparison_levels": ()})
        by_label = {str(one.get("label_for_charts", "")): one for one in found["comparison_levels"]}
        levels = []
        for weight in comparison.levels:
            told = by_label.get(weight.level, {})
            m, u = (_seen(told.get(f"{kind}_probability")) for kind in "mu")
            if m is None or u is None:
                unseen.append(f"{comparison.name}.{weight.level}")
            if weight.m == weight.u:
                levels.append(weight)
                continue
            levels.append(replace(weight, u=u or weight.u, m=m or weight.m))
        comparisons.append(replace(comparison, levels=tuple(levels)))
    trained_as = {**about, "kept_from_start": unseen}
    return replace(model, name=name, comparisons=tuple(comparisons), trained=trained_as)


def _seen(value: object) -> float | None:
    if isinstance(value, (int, float)) and value > 1e-12:
        return min(float(value), 1 - 1e-9)
    return None
