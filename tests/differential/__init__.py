"""certferry's judgement of certificates beside OpenSSL's, for random worlds of authorities and for each root of this system.

`plans` says what a world is made of, `worlds` makes it, `libssl` and `commands` ask OpenSSL, `judged` asks certferry,
`properties` compares the answers, and `explained` lists where they may differ and which client is the reason.
"""
