"""What the API answers, as OpenAPI schemas."""
