"""``doorway validate``."""

from gateway.commands.unbuilt import unbuilt

validate = unbuilt("validate", "Validate FHIR files.")
