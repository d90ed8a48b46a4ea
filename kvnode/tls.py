"""TLS with a certificate on both sides: between nodes, and between a client and a node.

Each side has a directory with three PEM files, under the names that certificates are handed out
with (a Kubernetes secret of type tls, cert-manager):

- ``ca.crt``: the authority that has signed the others' certificates;
- ``tls.crt``: the own certificate, behind it those between it and the authority;
- ``tls.key``: its private key, not encrypted.

Who has a certificate of that authority is let in, as a node and as a client, and may do everything:
there are no rights. So it has to be an authority of the cluster's own. Who dials also checks that
the certificate is for the host that was dialled (its subject alternative names: DNS names, or IP
addresses where addresses are dialled).

The files are read when a node starts and when a client is made.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import grpc

AUTHORITY, CERTIFICATE, KEY = "ca.crt", "tls.crt", "tls.key"


class Credentials(NamedTuple):
    """What the three files hold."""

    authority: bytes
    certificate: bytes
    key: bytes

    def of_server(self) -> grpc.ServerCredentials:
        """For who is dialled."""
        return grpc.ssl_server_credentials(
            [(self.key, self.certificate)], self.authority, require_client_auth=True
        )

    def of_channel(self) -> grpc.ChannelCredentials:
        """For who dials."""
        return grpc.ssl_channel_credentials(self.authority, self.key, self.certificate)


def read_credentials(directory: str | Path) -> Credentials:
    """What the directory holds; OSError if a file is missing or is not what it should be.

    gRPC takes whatever it gets, and then no connection comes about.
    """
    import ssl  # a hundredth of a second, which who has no TLS need not wait

    folder = Path(directory)
    found = []
    for name in (AUTHORITY, CERTIFICATE, KEY):
        try:
            found.append((folder / name).read_bytes())
        except OSError as error:
            raise OSError(f"TLS: cannot read {folder / name}: {error.strerror}") from error
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(folder / AUTHORITY)
    except ssl.SSLError as error:
        raise OSError(f"TLS: {folder / AUTHORITY} holds no certificates in PEM form") from error
    try:
        # without a password: an encrypted key would have somebody asked for it
        context.load_cert_chain(folder / CERTIFICATE, folder / KEY, password=b"")
    except ssl.SSLError as error:
        raise OSError(
            f"TLS: {folder / CERTIFICATE} and {KEY} are not a certificate and its private key in "
            "PEM form, not encrypted"
        ) from error
    return Credentials(*found)
