"""Row states in memory: the same contract as the database, for tests."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.exchange.ports.rows import RowPlace, RowState


@dataclass(slots=True)
class MemoryRows:
    """States by (source, file, key)."""

    states: dict[tuple[str, str, str], RowState] = field(default_factory=dict)
    things: set[tuple[str, str, str]] = field(default_factory=set)  # source, kind, key
    texts: dict[tuple[str, str, str], str] = field(default_factory=dict)

    def _live(
        self, source: str, holds: Callable[[RowState], bool], *, deleted: bool = False, every: bool = False
    ) -> list[RowState]:
        mine = (s for s in self.states.values() if s.source == source and (every or not s.waiting))
        found = (s for s in mine if (deleted or every or not s.deleted) and holds(s))
        return sorted(found, key=lambda state: (state.file, state.key))

    def get(self, source: str, file: str, keys: Iterable[str]) -> dict[str, RowState]:
        """The states by key; unknown keys are left out."""
        found = ((key, self.states.get((source, file, key))) for key in keys)
        return {key: state for key, state in found if state is not None}

    def of_projects(
        self, source: str, file: str, projects: Sequence[str], *, deleted: bool = False, every: bool = False
    ) -> list[RowState]:
        """Live rows of a file that belong to one of the projects, by key; with ``deleted`` the deleted ones too, with
        ``every`` those that wait as well.
        """
        return self._live(
            source, lambda state: state.file == file and state.project in projects, deleted=deleted, every=every
        )

    def of_enrollments(
        self, source: str, enrollments: Sequence[str], file: str = "", *, deleted: bool = False, every: bool = False
    ) -> list[RowState]:
        """Live rows of the enrollments, of every file or one, by file and key; ``deleted`` and ``every`` as above."""
        return self._live(
            source,
            lambda state: state.enrollment in enrollments and file in ("", state.file),
            deleted=deleted,
            every=every,
        )

    def of_households(self, source: str, households: Sequence[str]) -> list[RowState]:
        """Live enrollments of the households, by key."""
        return self._live(source, lambda state: state.household in households)

    def of_persons(self, source: str, file: str, persons: Sequence[str], *, every: bool = False) -> list[RowState]:
        """Live rows of a file that belong to one of the clients, by key; with ``every`` deleted and waiting ones."""
        return self._live(source, lambda state: state.file == file and state.person in persons, every=every)

    def sources(self) -> list[str]:
        """The sources that rows came from."""
        return sorted({source for source, _, _ in self.states})

    def page(self, source: str, file: str, after: str, limit: int) -> list[RowState]:
        """Rows of a file that are FHIR, deleted ones too, by key, beginning after a key."""
        states = (state for _, state in sorted(self.states.items()) if (state.source, state.file) == (source, file))
        return [state for state in states if state.key > after and not state.waiting][:limit]

    def of_file(self, source: str, file: str) -> list[RowState]:
        """Every live row of a file, by key."""
        return self._live(source, lambda state: state.file == file)

    def waiting(self, source: str, file: str, after: str, limit: int) -> list[RowState]:
        """Rows of a file that wait, by key, beginning after a key."""
        states = (state for _, state in sorted(self.states.items()) if (state.source, state.file) == (source, file))
        return [state for state in states if state.key > after and state.waiting][:limit]

    def digests(self, source: str, file: str, keys: Iterable[str]) -> dict[str, bytes]:
        """The digests by key of rows that are FHIR; others are left out."""
        return {key: state.digest for key, state in self.get(source, file, keys).items() if not state.waiting}

    def places(self, source: str, file: str, after: str, limit: int) -> list[RowPlace]:
        """Live rows of a file, by key, beginning after a key."""
        found = self._live(source, lambda state: state.file == file and state.key > after)[:limit]
        return [RowPlace(state.key, state.enrollment, state.project, state.facts) for state in found]

    def todo(self, source: str, kind: str, limit: int) -> list[str]:
        """Keys for which something is still to be done, sorted."""
        return sorted(key for of, what, key in self.things if (of, what) == (source, kind))[:limit]

    def extras(self, source: str, file: str, keys: Iterable[str]) -> dict[str, str]:
        """What is kept beside HUD's columns and files, by key."""
        found = ((key, self.texts.get((source, file, key))) for key in keys)
        return {key: text for key, text in found if text is not None}

    def extra_page(self, source: str, file: str, after: str, limit: int) -> list[tuple[str, str]]:
        """Key and text of what is kept of a file, by key, beginning after a key."""
        own = sorted((k, text) for (s, f, k), text in self.texts.items() if (s, f) == (source, file) and k > after)
        return own[:limit]

    def extra_files(self, source: str) -> list[str]:
        """Files of which something is kept, sorted."""
        return sorted({file for own, file, _ in self.texts if own == source})

    def counts(self, source: str) -> dict[str, int]:
        """Live rows by file."""
        out: dict[str, int] = {}
        for state in self._live(source, lambda _: True):
            out[state.file] = out.get(state.file, 0) + 1
        return out

    def put(self, states: Sequence[RowState]) -> None:
        """Keep states, replacing those with the same source, file and key."""
        for state in states:
            self.states[state.source, state.file, state.key] = state

    def drop(self, source: str, file: str, keys: Iterable[str]) -> None:
        """Forget rows, and what is kept beside them."""
        for key in keys:
            self.states.pop((source, file, key), None)
            self.texts.pop((source, file, key), None)

    def put_todo(self, source: str, kind: str, keys: Iterable[str]) -> None:
        """Note what follows from a write and is done in a later transaction."""
        self.things.update((source, kind, key) for key in keys)

    def done(self, source: str, kind: str, keys: Iterable[str]) -> None:
        """Take keys off the list again."""
        self.things.difference_update([(source, kind, key) for key in keys])

    def put_extras(self, source: str, file: str, texts: Mapping[str, str]) -> None:
        """Keep what HUD's format has no place for, by key; empty removes it."""
        for key, text in texts.items():
            if text:
                self.texts[source, file, key] = text
            else:
                self.texts.pop((source, file, key), None)
