"""How partners sign: one file a scheme. Pure: the API and the attestors share them."""
