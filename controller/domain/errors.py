"""Every exception certferry raises on purpose.

    Error
    ├ ConfigError (SettingsError, LabelError)          the operator must act
    ├ TransientError                                   retried with backoff
    │   ├ SourceUnavailable (SourceGone, OtherStore), SourceMalformed (PartMissing)
    │   └ EngineUnavailable, TargetGone, TargetNotRunning, ExecCut, ExecTimeout (StillRunning), ProbeUnavailable, WriteFailed
    └ PermanentError                                   retried only on new input or at the resync
        ├ CertificateError (KeyMismatch, NameMissing (OnlyAddresses), MalformedPem (WrongForm), EncryptedKey,
        │   WeakKey, WeakSignature, WrongUsage)
        ├ WriteRefused (FilesUnreadable), CheckFailed, ReloadFailed, VerifyFailed, RollbackFailed
        └ DeliveryRefused

A message names the thing (target, file, port) and the remedy, in one line.
"""

from __future__ import annotations


class Error(Exception):
    """Root of certferry's errors."""


class ConfigError(Error):
    """The operator must change something before this can work."""


class SettingsError(ConfigError):
    """A setting is wrong; the process ends with exit code 78 (``EX_CONFIG``)."""


class LabelError(ConfigError):
    """One or more labels of a container are wrong; ``problems`` has one line for each."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class TransientError(Error):
    """Likely to pass by itself: retried with backoff."""


class SourceUnavailable(TransientError):
    """A source cannot be reached or read."""


class SourceGone(SourceUnavailable):
    """What a source would be read from was removed."""


class OtherStore(SourceUnavailable):
    """What a source names is there, and is not what a store of its kind looks like."""


class SourceMalformed(TransientError):
    """A source was read but does not parse; proxies write in place, so it is read again."""


class PartMissing(SourceMalformed):
    """A file of a pair is missing."""


class EngineUnavailable(TransientError):
    """The Docker Engine does not answer."""


class TargetGone(TransientError):
    """The container does not exist any more."""


class TargetNotRunning(TransientError):
    """The container is paused, stopped or restarting, so nothing can be executed in it."""


class ExecCut(TransientError):
    """A command inside a container was killed: the container stops or restarts just then."""


class ExecTimeout(TransientError):
    """A command inside a container did not end in time."""


class StillRunning(ExecTimeout):
    """Commands that did not end in time still run in the container, so no further one is begun there."""


class ProbeUnavailable(TransientError):
    """A port could be probed neither over the network nor from inside the container."""


class WriteFailed(TransientError):
    """Files could not be written for a reason that can end by itself: no space, too many open files, a mount that is away."""


class Overwritten(WriteFailed):
    """Somebody else replaced the files between their writing and the proof, so that nothing is known of the written ones."""


class PermanentError(Error):
    """Will fail again until something changes."""


class CertificateError(PermanentError):
    """A certificate or key that must not be delivered."""


class MalformedPem(CertificateError):
    """Not PEM, or PEM around something that is not a certificate or key."""


class WrongForm(MalformedPem):
    """Not what is wanted, but something that is known by name; the message says what helps."""


class EncryptedKey(CertificateError):
    """The private key is protected by a password."""


class KeyMismatch(CertificateError):
    """The private key belongs to another certificate."""


class NameMissing(CertificateError):
    """The leaf has no subjectAltName, so no client accepts it (RFC 9525 §2)."""


class OnlyAddresses(NameMissing):
    """The leaf is for IP addresses: it is nobody's mistake, and nothing for mail servers."""


class WeakKey(CertificateError):
    """The key is too short, or of a kind that mail clients do not know."""


class WeakSignature(CertificateError):
    """The leaf is signed with SHA-1 or MD5."""


class WrongUsage(CertificateError):
    """The certificate says that it is not for TLS servers."""


class WriteRefused(PermanentError):
    """The target's files cannot be written the way the container is mounted."""


class FilesUnreadable(WriteRefused):
    """What is at the target's paths cannot be read, or is no certificate or key; so nothing is written there either."""


class CheckFailed(PermanentError):
    """The target's own configuration check refused the new files."""


class ReloadFailed(PermanentError):
    """A reload command ended with another exit code than 0."""


class VerifyFailed(PermanentError):
    """A port does not hand out the certificate that was installed."""


class DeliveryRefused(PermanentError):
    """What was asked for by hand cannot be done: there is no such target, it is paused, or another certferry may work on it."""


class RollbackFailed(PermanentError):
    """The previous pair could not be restored."""
