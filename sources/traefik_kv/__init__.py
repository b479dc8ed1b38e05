"""Traefik v1 in cluster mode: its ACME account, with all certificates, as one value in a key-value store.

One file for each store; what they share is the value (`value`, `account`) and, for those behind a network, the way there
(`network`, `http`).
"""
