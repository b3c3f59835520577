"""The backend's side of attestation: asking the attestors."""
