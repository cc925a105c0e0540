"""The FHIR REST API as use cases: what each interaction does, without HTTP (R4 "RESTful API")."""
