"""The order of an answer in SQL: sort values, the place behind a match, and the walk along a sort key's index."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

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
    type: str
    source: int | None  # none: a column of the resource
    descending: bool

    @property
    def row(self) -> str:
        """The alias of its rows."""
        return "r" if self.source is None else "x0"

    def scope(self, words: Words) -> str:
        """The run of the index."""
        if self.source is None:
            return f"r.type = {words.bind(self.type)}"
        return f"x0.p = {words.bind(self.source)}"

    def edge(self, words: Words, conditions: Sequence[str], most: int) -> str:
        """The value so many rows on; none: there are fewer."""
        column, way = f"{self.row}.{self.column}", " DESC" if self.descending else ""
        where = " AND ".join([self.scope(words), *conditions])
        return (
            f"SELECT {column} FROM {self.table} {self.row} WHERE {where}"
            f" ORDER BY {column}{way} LIMIT 1 OFFSET {words.bind(most)}"
        )

    def from_(self, value: str) -> str:
        """Where the walk begins, that value with it."""
        return f"{self.row}.{self.column} {'<=' if self.descending else '>='} {value}"

    def to(self, value: str) -> str:
        """Where it ends, that value with it."""
        return f"{self.row}.{self.column} {'>=' if self.descending else '<='} {value}"

    def best(self, words: Words) -> str:
        """Live ones; of the values of one resource only that which it is sorted by, once."""
        if self.source is None:
            return f"{self.scope(words)} AND r.method <> 'DELETE'"
        better, column = ">" if self.descending else "<", self.column
        if column == "low":  # hidden from planners: the key is to be looked up
            worse = f"(+b.low {better} x0.low OR (+b.low = x0.low AND +b.high > x0.high))"
        else:
            worse = f"(b.value || '') {better} x0.value"
        return (
            f"{self.scope(words)} AND NOT EXISTS (SELECT 1 FROM {self.table} b WHERE b.p = x0.p"
            f" AND b.key = x0.key AND {worse}{words.apart})"
        )


def walkable_sort(type_: str, sorts: Sequence[Sort]) -> Walk | None:
    """How the first sort key is walked; None where there is none, or several indexes hold it."""
    if not sorts:
        return None
    parameter, descending = sorts[0].parameter, sorts[0].descending
    if parameter.code in OWN:
        return Walk("resource", "id" if parameter.code == "_id" else "updated_us", type_, None, descending)
    if len(parameter.sources) != 1 or any(sort.parameter.code in OWN for sort in sorts):
        return None
    table, column = _SORT_TABLES[parameter.kind]
    return Walk(table, column, type_, number_of(parameter.sources[0]), descending)


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
