"""HTTP digest authentication (RFC 7616) with SHA-256 and ``qop=auth`` only.

A nonce contains its time of issue and a keyed hash, so that nonces need no storage until they
are used to log in.  From then on, the request counters (``nc``) of a nonce are stored until it
expires, and every worker accepts each counter only once, which prevents replays.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from common.base.hashing import sha256_hex
from common.config.credentials import REALM
from serving_layer.access.shared_ttl_table import SharedTtlTable

#: Number of nonces in use; beyond about this many, clients are asked to take a new one.
MAX_NONCES = 10_000
#: How far below the highest counter a new one is accepted: requests overtake one another.
WINDOW = 64

_COUNTER = re.compile(r"[0-9A-Fa-f]{8}")
_NEEDED = ("uri", "nonce", "nc", "cnonce", "response")


class LoginError(Exception):
    """The credentials are refused; the text says why.

    Parameters
    ----------
    reason : str
        The reason, for the log.
    stale : bool
        Whether the credentials are right and only their nonce has expired.
    """

    def __init__(self, reason: str, stale: bool = False) -> None:
        super().__init__(reason)
        self.stale = stale


@dataclass
class _Counters:
    """The used counters of one nonce: the highest, and a bit for each of those below it."""

    highest: int = 0
    used: int = 0

    def use(self, count: int) -> bool:
        """Mark a counter as used; False if it is used already or below the window."""
        if count > self.highest:
            # Bounded: a client could demand a shift of any length.
            ahead = min(count - self.highest, WINDOW)
            self.used = (self.used << ahead | 1) & ((1 << WINDOW) - 1)
            self.highest = count
            return True
        bit = 1 << (self.highest - count)
        if self.highest - count >= WINDOW or self.used & bit:
            return False
        self.used |= bit
        return True


@dataclass
class Digest:
    """Issues challenges and checks the credentials that answer them.

    Parameters
    ----------
    seconds : float
        Lifetime of a nonce.
    clock : callable
        Monotonic seconds, the same in all processes.
    key : bytes, optional
        Signs nonces; random by default, so that a restart invalidates all of them.
    """

    seconds: float
    clock: Callable[[], float]
    key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    _nonces: SharedTtlTable = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._nonces = SharedTtlTable("IQ", MAX_NONCES, self.clock)

    def challenge(self, stale: bool = False) -> str:
        """Return the value of ``WWW-Authenticate``."""
        nonce = self._nonce(f"{self.clock():.3f}", secrets.token_hex(8))
        suffix = ", stale=true" if stale else ""
        return f'Digest realm="{REALM}", qop="auth", algorithm=SHA-256, nonce="{nonce}"{suffix}'

    def check(
        self, credentials: Mapping[str, str | None], method: str, target: str, ha1: str
    ) -> None:
        """Check a client's credentials.

        Parameters
        ----------
        credentials : mapping
            Parameters of the ``Authorization`` header.
        method, target : str
            Method and target of the request, as sent.
        ha1 : str
            SHA-256 (hex) of ``name:realm:password``.

        Raises
        ------
        LoginError
            If the credentials are wrong, their nonce has expired, or they are replayed.
        """
        if (credentials.get("algorithm") or "MD5").upper() != "SHA-256" or credentials.get(
            "qop"
        ) != "auth":
            reason = "the digest is not SHA-256 with qop=auth"
            raise LoginError(reason)
        uri, nonce, nc, cnonce, response = ((credentials.get(name) or "") for name in _NEEDED)
        if uri != target:
            reason = "the digest is for another path"
            raise LoginError(reason)
        expected = sha256_hex(f"{ha1}:{nonce}:{nc}:{cnonce}:auth:{sha256_hex(f'{method}:{uri}')}")
        if not hmac.compare_digest(expected.encode(), response.lower().encode()):
            reason = "wrong password"
            raise LoginError(reason)
        self._use(nonce, nc)

    def _use(self, nonce: str, nc: str) -> None:
        issued, _, rest = nonce.partition("-")
        salt = rest.partition("-")[0]
        if not hmac.compare_digest(self._nonce(issued, salt).encode(), nonce.encode()):
            # The password is right; the nonce may be from before a restart.
            reason = "the nonce is not ours"
            raise LoginError(reason, stale=True)
        expires = float(issued) + self.seconds
        if self.clock() >= expires:
            reason = "the nonce has expired"
            raise LoginError(reason, stale=True)
        count = _counter(nc)
        with self._nonces.record(nonce) as record:
            if record.crowded:
                reason = "too many nonces are in use"
                raise LoginError(reason, stale=True)
            counters = _Counters(*record.fields or ())
            if not counters.use(count):
                reason = "the request was sent before"
                raise LoginError(reason)
            record.put(expires, counters.highest, counters.used)

    def _nonce(self, issued: str, salt: str) -> str:
        mac = hmac.new(self.key, f"{issued}-{salt}".encode(), hashlib.sha256).hexdigest()[:32]
        return f"{issued}-{salt}-{mac}"


def _counter(nc: str) -> int:
    if not _COUNTER.fullmatch(nc):
        reason = "nc is not eight hexadecimal digits"
        raise LoginError(reason)
    return int(nc, 16)
