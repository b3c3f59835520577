"""The commands that run a whole stack, as a newcomer types them."""
