"""The order of an answer in SQL: sort values, the place behind a match, and the walk along a sort key's index."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.adapters.db.search_index import number_of
from gateway.adapters.db.search_sql import Words
from gateway.exchange.ports.resources import Place
from gateway.exchange.search import Sort
from gateway.exchange.search_match import last_value

OWN: Final = frozenset({"_id", "_lastUpdated"})  # columns of the resource


def in_sql(sort: Sort) -> bool:
    """Whether an index holds what is sorted by; tokens and references are kept as hashes only."""
    return sort.parameter.code in OWN or sort.parameter.kind in _SORT_TABLES


_SORT_TABLES: Final = {
    "string": ("search_text", "value"),
    "uri": ("search_text", "value"),
    "date": ("search_date", "low"),
    "number": ("search_number", "low"),
    "quantity": ("search_number", "low"),
}


@dataclass(frozen=True, slots=True)
class Walk:
    """The values of one sort key as an index holds them, best first."""

    table: str
    column: str
    source: int
    descending: bool

    def edge(self, words: Words, begin: str, most: int) -> tuple[str, dict[str, Any]]:
        """The value so many rows on, and what is bound; none: there are fewer."""
        way = " DESC" if self.descending else ""
        text = f"SELECT x0.{self.column} FROM {self.table} x0 WHERE x0.p = {words.bind(self.source)}{begin}"
        text += f" ORDER BY x0.{self.column}{way} LIMIT 1 OFFSET {words.bind(most)}"
        return text, words.values

    def from_(self, value: str) -> str:
        """Where the walk begins, that value with it."""
        return f"x0.{self.column} {'<=' if self.descending else '>='} {value}"

    def to(self, value: str) -> str:
        """Where it ends, that value with it."""
        return f"x0.{self.column} {'>=' if self.descending else '<='} {value}"

    def best(self, words: Words) -> str:
        """Of the values of one resource only that which it is sorted by, once."""
        better, column = ">" if self.descending else "<", self.column
        if column == "low":  # hidden from planners: the key is to be looked up
            worse = f"(+b.low {better} x0.low OR (+b.low = x0.low AND +b.high > x0.high))"
        else:
            worse = f"(b.value || '') {better} x0.value"
        return (
            f"x0.p = {words.bind(self.source)} AND NOT EXISTS (SELECT 1 FROM {self.table} b WHERE b.p = x0.p"
            f" AND b.key = x0.key AND {worse}{words.apart})"
        )


def walkable_sort(sorts: Sequence[Sort]) -> Walk | None:
    """How the first sort key is walked; None where columns of the resource or several sources are sorted by."""
    if not sorts or any(sort.parameter.code in OWN for sort in sorts) or len(sorts[0].parameter.sources) != 1:
        return None
    table, column = _SORT_TABLES[sorts[0].parameter.kind]
    return Walk(table, column, number_of(sorts[0].parameter.sources[0]), sorts[0].descending)


def sort_expression(words: Words, sort: Sort, row: str) -> str:
    """The sort value of the row with alias ``row``; a sort by id or time needs a resource."""
    if sort.parameter.code == "_id":
        return f"{row}.id"
    if sort.parameter.code == "_lastUpdated":
        return f"{row}.updated_us"
    table, column = _SORT_TABLES[sort.parameter.kind]
    least = "max" if sort.descending else "min"
    sources = words.among("x.p", [number_of(source) for source in sort.parameter.sources])
    found = f"(SELECT {least}(x.{column}) FROM {table} x WHERE {sources} AND x.key = {row}.key)"
    return f"coalesce({found}, {words.bind(last_value(sort))})"


def behind(words: Words, sorts: Sequence[Sort], after: Place) -> str:
    """The keyset condition: the first sort value that differs decides."""
    columns = [(f"q.s{index}", "<" if sort.descending else ">") for index, sort in enumerate(sorts)] + [("q.key", ">")]
    bound = [words.bind(value) for value in after]
    parts = []
    for index, (column, way) in enumerate(columns):
        same = [f"{columns[before][0]} = {bound[before]}" for before in range(index)]
        parts.append("(" + " AND ".join([*same, f"{column} {way} {bound[index]}"]) + ")")
    return "(" + " OR ".join(parts) + ")"
