"""Reasons: the one vocabulary of logs, metrics, commands, status page and documentation."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why a target is not as desired, or a candidate was not chosen."""

    NOT_INSTALLED = "NotInstalled"
    LEAF_DIFFERS = "LeafDiffers"
    CHAIN_DIFFERS = "ChainDiffers"
    KEY_DIFFERS = "KeyDiffers"
    MODE_DIFFERS = "ModeDiffers"
    RELOAD_PENDING = "ReloadPending"
    SERVED_DIFFERS = "ServedDiffers"
    NO_MATCHING_CERTIFICATE = "NoMatchingCertificate"
    WOULD_DOWNGRADE = "WouldDowngrade"
    OTHER_SOURCE = "OtherSource"
    EXPIRED = "Expired"
    NOT_YET_VALID = "NotYetValid"
    KEY_MISMATCH = "KeyMismatch"
    NAME_MISMATCH = "NameMismatch"
    WEAK_KEY = "WeakKey"
    WEAK_SIGNATURE = "WeakSignature"
    WRONG_USAGE = "WrongUsage"
    SOME_CLIENTS_REFUSE = "SomeClientsRefuse"
    UNTRUSTED_ISSUER = "UntrustedIssuer"
    INVALID_LABELS = "InvalidLabels"
    FILES_UNREADABLE = "FilesUnreadable"
    WRITE_REFUSED = "WriteRefused"
    WRITE_FAILED = "WriteFailed"
    CHECK_FAILED = "CheckFailed"
    RELOAD_FAILED = "ReloadFailed"
    VERIFY_FAILED = "VerifyFailed"
    ROLLED_BACK = "RolledBack"
    NOT_RUNNING = "NotRunning"
    NOTHING_LISTENS = "NothingListens"
    PORTS_NOT_ASKABLE = "PortsNotAskable"
    UNREACHABLE = "Unreachable"
    TARGET_GONE = "TargetGone"
    SOURCE_UNAVAILABLE = "SourceUnavailable"
    SOURCE_MALFORMED = "SourceMalformed"


MEANING: dict[Reason, tuple[str, str]] = {
    Reason.NOT_INSTALLED: ("the container has no certificate at its paths yet", "nothing; it is just being brought there"),
    Reason.LEAF_DIFFERS: ("another certificate is installed than the one chosen", "nothing; it is just being replaced"),
    Reason.CHAIN_DIFFERS: ("the leaf is right, its intermediates are not", "nothing; they are just being replaced"),
    Reason.KEY_DIFFERS: ("the certificate is right, the private key beside it is not", "nothing; it is just being replaced"),
    Reason.MODE_DIFFERS: ("owner or mode of a file are not what the labels ask for", "nothing; they are just being set"),
    Reason.RELOAD_PENDING: ("the files are right, the services have not been seen to use them for good", "wait some seconds"),
    Reason.SERVED_DIFFERS: (
        "a port hands out another certificate than the installed one, or not its whole chain, or does not answer",
        "if it stays: does the server's configuration name the file with the whole chain? Look at the mail server's own log;"
        " Postfix throttles a failed service for 60 s",
    ),
    Reason.NO_MATCHING_CERTIFICATE: (
        "no source holds a certificate for all the names asked for",
        "let the proxy ask for one: a router with these host names; `certferry sources` shows what there is",
    ),
    Reason.WOULD_DOWNGRADE: (
        "a newer certificate of the same authority is installed",
        "was the proxy's store restored from a backup? Its next renewal is taken; the label `allow-untrusted` takes this one",
    ),
    Reason.OTHER_SOURCE: (
        "another source's certificate would replace a valid one whose source is not gone",
        "nothing; to switch now, name the wanted source in the label `source`, or remove the other one",
    ),
    Reason.EXPIRED: ("the certificate has ended", "find out why the proxy does not renew it"),
    Reason.NOT_YET_VALID: ("the certificate begins in the future", "check the clocks"),
    Reason.KEY_MISMATCH: ("the private key belongs to another certificate", "restore the proxy's store"),
    Reason.NAME_MISMATCH: (
        "the certificate does not cover every name asked for",
        "add the names to the proxy's router, or ask for fewer by the label",
    ),
    Reason.WEAK_KEY: (
        "the key is too weak, or of a kind that mail clients do not know",
        "let its program make a new one: RSA with 2048 bits at least, or the curve P-256",
    ),
    Reason.WEAK_SIGNATURE: (
        "the certificate is signed with SHA-1 or MD5, which clients refuse",
        "let its CA sign with SHA-256",
    ),
    Reason.WRONG_USAGE: (
        "the certificate is not for TLS servers: for clients, for signing mail, or a CA's own",
        "ask its CA for a server certificate (extended key usage serverAuth)",
    ),
    Reason.SOME_CLIENTS_REFUSE: (
        "some clients refuse the certificate (Ed25519, must-staple), and all accept the installed one",
        "let the proxy ask for an RSA or ECDSA certificate; it is taken as it is when the installed one has expired",
    ),
    Reason.UNTRUSTED_ISSUER: (
        "a certificate that fewer clients trust would replace a better one: staging, self-signed, private, a broken chain",
        "the message says why it is trusted less; correct that, or set the label `allow-untrusted`",
    ),
    Reason.INVALID_LABELS: ("labels of the container cannot be used", "the message names each one and the nearest known"),
    Reason.FILES_UNREADABLE: (
        "what is at the paths in the container cannot be read, or is no certificate or key",
        "the message names the file, or what stands in the way",
    ),
    Reason.WRITE_REFUSED: ("the files cannot be written the way the container is mounted", "the message names the mount"),
    Reason.WRITE_FAILED: (
        "the files could not be written just now: no space, or a mount that is away",
        "make room on the disk; it is tried again by itself",
    ),
    Reason.CHECK_FAILED: ("the configuration check refused the new files; the old ones are back", "run the check by hand"),
    Reason.RELOAD_FAILED: ("a reload command failed", "run it by hand; the message has its last line"),
    Reason.VERIFY_FAILED: (
        "a port does not hand out the installed certificate, or no way leads to it",
        "compare the paths in the mail server's configuration; is `certferry.reload` right?",
    ),
    Reason.ROLLED_BACK: (
        "the new pair did not work; the previous pair was restored and is in use",
        "the message says what failed; it is tried again with growing pauses, and at once with the next certificate",
    ),
    Reason.NOT_RUNNING: (
        "a mail service in the running container does not run; the new certificate stays installed",
        "start the service; its own log says why it ended. It starts with the new certificate",
    ),
    Reason.NOTHING_LISTENS: (
        "none of the ports listens, so no client gets the certificate",
        "look at the mail server's own log; if it has no TLS ports, set the label `certferry.probe=off`",
    ),
    Reason.PORTS_NOT_ASKABLE: (
        "no way leads to the ports, so nobody knows what they hand out",
        "attach certferry to a network of the container, or set the label `certferry.probe=off`",
    ),
    Reason.UNREACHABLE: (
        "Docker or the container did not answer, so nothing is known",
        "it is tried again; the message says what did not answer",
    ),
    Reason.TARGET_GONE: ("the container disappeared while it was being worked on", "nothing"),
    Reason.SOURCE_UNAVAILABLE: ("a source cannot be reached or read; its last good state is kept", "the message says why"),
    Reason.SOURCE_MALFORMED: ("a source does not parse; its last good state is kept", "the message says where"),
}
"""What each reason means, and what to do about it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason and the sentence that explains it here and now."""

    reason: Reason
    message: str

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"
