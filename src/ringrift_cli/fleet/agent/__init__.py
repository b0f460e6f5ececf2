"""The agent on a host: serves the requests of one connection over its standard streams."""
