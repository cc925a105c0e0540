"""Doorway: a FHIR/HL7 interoperability gateway between housing (HMIS) and health records."""

__version__ = "0.1.0"
