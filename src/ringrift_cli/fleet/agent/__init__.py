"""What runs on a host: it answers the requests of one connection over its standard streams."""
