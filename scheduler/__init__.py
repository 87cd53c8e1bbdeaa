"""A file-backed GitOps scheduler: the files say what should run, the database remembers what did."""

__version__ = "0.1.0"
