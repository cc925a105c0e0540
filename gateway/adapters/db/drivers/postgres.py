"""Lists of numbers for PostgreSQL as the text of an array; imported only where PostgreSQL is in use.

The driver looks at every number of a list several times to choose the smallest type that holds them all: 1.6
microseconds a number, most of what storing a resource or asking for a few thousand keys took. Sent as text of no type,
an array has the type that the statement gives it.
"""

from typing import Any

from psycopg.adapt import PyFormat
from psycopg.types.array import ListDumper


class NumbersDumper(ListDumper):
    """Lists of whole numbers as they are, every other list as the driver does it."""

    def get_key(self, obj: list[Any], way: PyFormat) -> Any:
        """Lists of numbers share one dumper, whatever is in them."""
        return list if _numbers(obj) else super().get_key(obj, way)

    def upgrade(self, obj: list[Any], way: PyFormat) -> Any:
        """This one does for numbers."""
        return self if _numbers(obj) else super().upgrade(obj, way)

    def dump(self, obj: list[Any]) -> Any:
        """The array's text."""
        if self.sub_dumper is None and obj and type(obj[0]) is int:
            return f"{{{','.join(map(str, obj))}}}".encode()
        return super().dump(obj)


def _numbers(found: list[Any]) -> bool:
    return set(map(type, found)) == {int}
