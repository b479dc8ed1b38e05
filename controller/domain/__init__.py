"""The words of certferry as frozen data: no I/O, no third-party types, nothing that can fail late."""
