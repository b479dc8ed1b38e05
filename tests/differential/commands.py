"""What the openssl command says: ``openssl verify`` of files, and ``openssl s_client`` of a server that listens."""

from __future__ import annotations

import socket
import ssl
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from threading import Thread

from cryptography import x509

from tests.differential.worlds import pem

SECONDS = 20
"""How long a command may take; it takes a hundredth of one."""


def verify(leaf: x509.Certificate, others: Sequence[x509.Certificate], roots: str, name: str) -> tuple[bool, str]:
    """Whether ``openssl verify`` finds a path with any of the others, and what it says."""
    with tempfile.TemporaryDirectory() as folder:
        files = {"leaf": pem([leaf]), "others": pem(others), "roots": roots.encode()}
        for file, content in files.items():
            Path(folder, file).write_bytes(content)
        command = ["openssl", "verify", "-purpose", "sslserver", "-verify_hostname", name, "-auth_level", "2", "-no-CApath"]
        command += ["-no-CAstore", "-CAfile", f"{folder}/roots"] if roots else ["-no-CAstore", "-no-CAfile"]
        command += ["-untrusted", f"{folder}/others"] if others else []
        ran = subprocess.run([*command, f"{folder}/leaf"], capture_output=True, text=True, timeout=SECONDS, check=False)
    return ran.returncode == 0, ran.stdout + ran.stderr


def s_client(serving: ssl.SSLContext, roots: str, name: str) -> tuple[bool, str]:
    """Whether ``openssl s_client -verify_return_error`` accepts what a server hands out, and what it says."""
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as listening:
        Path(folder, "roots").write_text(roots)
        thread = Thread(target=_serve_once, args=(serving, listening), daemon=True)
        thread.start()
        port = listening.getsockname()[1]
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", name, "-verify_hostname", name]
        command += ["-verify_return_error", "-no-CApath", "-no-CAstore"]
        command += ["-CAfile", f"{folder}/roots"] if roots else ["-no-CAfile"]
        ran = subprocess.run(command, input="", capture_output=True, text=True, timeout=SECONDS, check=False)
        thread.join(SECONDS)
    return ran.returncode == 0, ran.stdout + ran.stderr


def _serve_once(serving: ssl.SSLContext, listening: socket.socket) -> None:
    listening.settimeout(SECONDS)
    connection, _ = listening.accept()
    connection.settimeout(SECONDS)
    try:
        with serving.wrap_socket(connection, server_side=True) as shaken:
            shaken.read(1)
    except OSError:
        connection.close()  # the client went away, as it does when it refuses
