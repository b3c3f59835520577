"""The partner's side: reading a reward list and reporting it over HTTP."""
