"""A partner of the demo: an ordinary FHIR client over HTTP with a bearer token; nothing here knows the gateway."""

import json
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    status: int
    body: bytes = field(repr=False)

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body) if self.body else None


@dataclass(frozen=True, slots=True)
class Partner:
    """One organization's system at the FHIR API."""

    name: str
    organization: str
    base: str
    token: str = field(repr=False)

    def get(self, path: str, **query: str) -> Reply:
        """``GET [base]/path?query``."""
        return self._call("GET", path + (f"?{urllib.parse.urlencode(query)}" if query else ""), None)

    def post(self, path: str, content: Any) -> Reply:
        """``POST``."""
        return self._call("POST", path, content)

    def put(self, path: str, content: Any) -> Reply:
        """``PUT``."""
        return self._call("PUT", path, content)

    def _call(self, method: str, path: str, content: Any) -> Reply:
        body = None if content is None else json.dumps(content).encode()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/fhir+json"}
        request = urllib.request.Request(  # noqa: S310 - the URL is our own server's
            f"{self.base}/{path}".rstrip("/"), data=body, headers=headers, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:  # noqa: S310
                return Reply(reply.status, reply.read())
        except urllib.error.HTTPError as error:
            with error:
                return Reply(error.code, error.read())
