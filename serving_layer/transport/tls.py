"""The certificate that HTTPS is served with, tried out before anybody depends on it."""

from __future__ import annotations

import contextlib
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from serving_layer.transport.sockets import ServeError

if TYPE_CHECKING:
    from common.config import Api

#: A handshake takes each side two turns; more means that it does not end.
_TURNS = 6


class CertificateError(ServeError):
    """The certificate cannot be used; the text says which file, why, and what to do."""


@dataclass(frozen=True)
class Certificate:
    """A certificate and its private key, as PEM files."""

    file: Path
    key_file: Path
    password: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, api: Api) -> Certificate | None:
        """Return what `serving.api` names; None where HTTPS is not asked for.

        Raises
        ------
        CertificateError
            As :meth:`check` says.
        """
        if api.certificate_file is None or api.key_file is None:
            return None
        password = api.key_password.get_secret_value() if api.key_password else None
        found = cls(api.certificate_file, api.key_file, password)
        found.check()
        return found

    def check(self) -> None:
        """Try the certificate out: a handshake with ourselves, in memory.

        Raises
        ------
        CertificateError
            If a file cannot be read, the key is another's, or the certificate has expired, is
            not valid yet, or is not one for a server.
        """
        try:
            _handshake(self._server(), self._client())
        except ssl.SSLCertVerificationError as error:
            message = f"{self.file} cannot be served with: {error.verify_message}; renew it"
            raise CertificateError(message) from error
        except (OSError, ValueError) as error:
            message = (
                f"{self.file} with the key {self.key_file} cannot be used: {error}; both must be "
                "PEM files and belong together (serving.api.certificate_file, key_file)"
            )
            raise CertificateError(message) from error

    def _server(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # Without a password OpenSSL would ask the terminal for one.
        context.load_cert_chain(self.file, self.key_file, self.password or "")
        return context

    def _client(self) -> ssl.SSLContext:
        """Trust this one certificate and nothing else, whatever its name."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(self.file)
        return context


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = (
        client.wrap_bio(to_client, to_server),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    for _ in range(_TURNS):
        for side in sides:
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
