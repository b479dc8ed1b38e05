"""Foreign bytes into every parser: each ends in what it should find or in one of certferry's own errors, in time that is linear
in the size of the input.

`targets` is the list; each module beside it has those of one field. A file in ``corpus/<target>/`` is an input that is tried by
``make test``; `costly` makes those that are too large to keep. ``make fuzz`` looks for new ones (``make fuzz SECONDS=60`` for
less long): what it finds stands in ``.fuzz/<target>/findings`` and belongs into the corpus once it is mended.
"""
