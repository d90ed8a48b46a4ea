"""Certificates for tests, made with openssl."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
HERE = "DNS:localhost,IP:127.0.0.1"


class Authority:
    """Signs certificates; everything is in its directory."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self.certificate = folder / f"{name}.crt"
        self._key = folder / f"{name}.key"
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        _openssl("-keyout", self._key, "-out", self.certificate, "-subj", f"/CN={name}")

    def issue(self, name: str, hosts: str = HERE) -> Path:
        """A directory as ``--tls`` takes it, for who answers at these hosts."""
        folder = self._folder / name
        folder.mkdir()
        _openssl(
            *("-CA", self.certificate, "-CAkey", self._key),
            *("-keyout", folder / "tls.key", "-out", folder / "tls.crt", "-subj", f"/CN={name}"),
            *("-addext", f"subjectAltName={hosts}", "-addext", "basicConstraints=CA:FALSE"),
        )
        shutil.copy(self.certificate, folder / "ca.crt")
        return folder


def _openssl(*arguments: str | Path) -> None:
    command = ["openssl", "req", "-x509", "-days", "2", *NEW_KEY, *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
