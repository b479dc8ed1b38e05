"""What all unit tests share."""

from __future__ import annotations

from hypothesis import settings

# On a busy machine an example may take long for no reason of its own.
settings.register_profile("certferry", deadline=None)
settings.load_profile("certferry")
