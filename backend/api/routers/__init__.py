"""The API's routers, one file a domain."""

from backend.api.routers import accounts, batches, health, interactions, programs

ROUTERS = (programs.router, interactions.router, accounts.router, batches.router, health.router)
