"""Requests made ready once: what an Organization is does not change from one request to the next.

Only the instant differs between two requests of one caller as long as the Organization and those above it stay as they
are; persons, roles and groups count for a time only, so requests that name some are made ready anew.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from gateway.consent.asked import Asked, ask
from gateway.consent.codes import Vocabulary
from gateway.consent.request import AccessRequest
from gateway.consent.times import instant_us
from gateway.kernel.fhir import Resource

_LIMIT: Final = 1_000


class Askers:
    """Remembers what was made ready; shared by all requests over one store."""

    def __init__(self) -> None:
        self._kept: dict[Any, Asked] = {}

    def ask(
        self, request: AccessRequest, vocabulary: Vocabulary, related: Sequence[Resource], bodies: Sequence[bytes], *,
        verified: bool,
    ) -> Asked:  # fmt: skip
        """As :func:`gateway.consent.asked.ask`.

        Args:
            bodies: the texts of ``related``, by which it is known again.
        """
        if request.actors or any(resource.get("resourceType") != "Organization" for resource in related):
            return ask(request, vocabulary, related, verified=verified)
        key = (
            request.organization, request.roles, request.purposes, request.action, request.environment,
            request.custodian, request.category, verified, *bodies,
        )  # fmt: skip
        kept = self._kept.get(key)
        if kept is None:
            if len(self._kept) >= _LIMIT:
                self._kept.clear()
            kept = self._kept[key] = ask(request, vocabulary, related, verified=verified)
        return replace(kept, now_us=instant_us(request.now))
