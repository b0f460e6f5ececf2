"""The remote half: what runs on a host, over its own Python, with nothing installed.

It is sent there as it is here, so both halves are always of one version.
"""
