"""The version of the package, and what marks its files: the one place where they are written."""

__version__ = "0.1.0"
MARK = "made by ringrift"  # near the start of every picture, page and model written for people
