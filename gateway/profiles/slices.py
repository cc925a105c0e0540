"""Slices at work: values are dealt to the slices they belong to, counted and judged there."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from gateway.profiles.items import Item
from gateway.profiles.run import Run
from gateway.profiles.slicing import Matcher
from gateway.profiles.snapshot import ElementNode

ItemCheck: TypeAlias = Callable[[Item, Run], None]
SlicesCheck: TypeAlias = Callable[[Item, list[Item], Run], None]  # (holder, its values, run)


class Slice:
    """One slice ready to run."""

    __slots__ = ("check", "maximum", "minimum", "name", "nested", "test")

    def __init__(
        self,
        node: ElementNode,
        test: Matcher | None,
        limits: tuple[int, int | None],
        check: ItemCheck | None,
        nested: "SlicesCheck | None",
    ) -> None:
        self.name = node.slice_name
        self.test = test
        self.minimum, self.maximum = limits
        self.check = check
        self.nested = nested

    @property
    def adds_nothing(self) -> bool:
        """Whether it need not be looked at in open slicing."""
        return not self.minimum and self.maximum is None and self.check is None and self.nested is None


def slicing(name: str, parts: list[Slice], *, closed: bool) -> SlicesCheck:
    """The check of an element with slices: deal, count, judge."""
    untestable = [part.name for part in parts if part.test is None]

    def check(holder: Item, items: list[Item], run: Run) -> None:
        members: dict[str, list[Item]] = {part.name: [] for part in parts}
        unsure: set[str] = set(untestable)
        for item in items:
            placed = maybe = False
            for part in parts:
                said = part.test(item, run) if part.test is not None else None
                if said:
                    members[part.name].append(item)
                    placed = True
                    break
                if said is None:
                    unsure.add(part.name)
                    maybe = True
            if closed and not placed and not maybe:
                run.error("structure", item.path, f"belongs to no slice of {name}, and no others are allowed")
        for part in parts:
            _count(part, members[part.name], holder, name, run, unsure=part.name in unsure and bool(items))

    return check


def slicing_by_url(name: str, urls: Mapping[str, Slice], *, closed: bool) -> SlicesCheck:
    """Extensions: the url says which slice."""
    needed = tuple(part for part in urls.values() if part.minimum)

    def check(holder: Item, items: list[Item], run: Run) -> None:
        members: dict[str, list[Item]] = {}
        for item in items:
            url = item.object().get("url")
            part = urls.get(url) if type(url) is str else None
            if part is not None:
                members.setdefault(part.name, []).append(item)
            elif closed:
                run.error("structure", item.path, f"belongs to no slice of {name}, and no others are allowed")
            elif holder.type == "Extension" and ":" not in str(item.object().get("url", ":")):
                run.error("structure", item.path, "is no part that this extension defines")
        for part in needed if not members else urls.values():
            _count(part, members.get(part.name, []), holder, name, run, unsure=False)

    return check


def _count(part: Slice, found: list[Item], holder: Item, name: str, run: Run, *, unsure: bool) -> None:
    if len(found) < part.minimum:
        if unsure:
            run.unchecked(holder.path, f"{name}: slice {part.name} (minimum {part.minimum}) could not be told apart")
        else:
            run.error("required", holder.path, f"{name}: slice {part.name} is required (minimum {part.minimum})")
    if part.maximum is not None and len(found) > part.maximum:
        words = f"{name}: slice {part.name} may stand {part.maximum} times at most"
        run.error("structure", found[part.maximum].path, words)
    if part.check is not None:
        for item in found:
            part.check(item, run)
    if part.nested is not None:
        part.nested(holder, found, run)
