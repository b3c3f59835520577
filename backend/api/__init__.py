"""All HTTP of the operator's service: the app, its routers, dependencies and schemas."""
