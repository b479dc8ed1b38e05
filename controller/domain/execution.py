"""How a command inside a container ended."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

SHORTEST = 4
"""Characters of an argument that is taken out of what a command printed; a shorter one would be found in any sentence."""

_SECRET_VALUE = re.compile(
    r"""(?:=|//|--?(?:u|p|user|password|passwd|pass|pw|token|secret|key|auth)[\s=]\s*)['"]?([^\s'"@]+)""", re.IGNORECASE
)
"""What follows an equals sign, the option for a password or the like, or stands in a URL before the host."""


def program_of(argv: Sequence[str]) -> str:
    """What may be told of a command: people put passwords into arguments, and into variables set before the program."""
    return argv[0].partition("=")[0] if argv else ""


def without_arguments(said: str, argv: Sequence[str]) -> str:
    """What a command printed, without those of its arguments that it repeats, and without the passwords in them.

    What a script prints that is no argument of its own cannot be told from what it should print.
    """
    secrets = {argument for argument in argv[1:] if len(argument) >= SHORTEST}
    values = (part for value in _SECRET_VALUE.findall(" ".join(argv)) for part in (value, *value.split(":")))
    secrets.update(value for value in values if len(value) >= SHORTEST)
    for secret in sorted(secrets, key=len, reverse=True):
        said = said.replace(secret, "…")
    return said


@dataclass(frozen=True, slots=True)
class ExecResult:
    """Exit code and output; the output may hold file contents and never shows in ``repr()``."""

    exit_code: int
    stdout: bytes = field(repr=False)
    stderr: bytes = field(repr=False)
    cut: bool = False
    """There was more output than is kept; with exit code -1 so much that its end was not waited for."""

    @property
    def tail(self) -> str:
        """The last line it printed, for messages."""
        return _last_line(self.stderr) or _last_line(self.stdout) or "no output"

    def tail_of(self, argv: Sequence[str]) -> str:
        """The same of a command that somebody wrote into a label, without its arguments."""
        return without_arguments(_last_line(self.stderr, 4096) or _last_line(self.stdout, 4096) or "no output", argv)[:300]

    @property
    def complaint(self) -> str:
        """The last line of its error output: for messages about commands that print what files hold."""
        return _last_line(self.stderr) or f"exit code {self.exit_code}"

    @property
    def is_missing(self) -> bool:
        """Whether the container has no such program.

        By the words of the engine's runtime, which the script around a command uses as well where there is a shell: the API has
        no other sign (Docker 20.10 answers 200, starts nothing, and ends with 126 or 127).
        """
        said = self.stdout + self.stderr
        words = b"executable file not found" in said or (b'exec: "' in said and b"no such file or directory" in said)
        return self.exit_code in (126, 127) and words

    @property
    def runtime_gave_up(self) -> bool:
        """Whether the engine's runtime could not start the command for another reason: the container is about to stop.

        Its complaint may be lost with the container. A command that could not be executed for a reason of its own says so. As
        in `is_missing` only the words tell: the API ends the exec of a dying container with 126, as a command may.
        """
        said = self.stdout + self.stderr
        return self.exit_code == 126 and (not self.stderr or b"OCI runtime exec failed" in said) and not self.is_missing


def _last_line(output: bytes, longest: int = 300) -> str:
    lines = output.strip().decode(errors="replace").splitlines()
    return lines[-1][:longest] if lines else ""
