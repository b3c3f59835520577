"""Programs: one token, one Distributor."""
