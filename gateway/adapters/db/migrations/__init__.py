"""The schema's history (Alembic). ``HEAD`` names its newest step; a test holds it to versions/."""

from typing import Final

HEAD: Final = "0001"
