"""Everything that knows X.509: what files hold, host names, keys, chains and roots, and whether a client would accept a pair.

Beside the authority of the self-signed source the only package that knows ``cryptography``. Nothing is read but the system's
roots, and there is no clock: the moment is an argument.
"""
