"""HUD HMIS CSV to FHIR R4 and back: tables of mappings/hmis compiled to Python source, closures as explainable twin."""
