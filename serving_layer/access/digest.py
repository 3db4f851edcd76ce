"""HTTP digest authentication (RFC 7616) with SHA-256 and ``qop=auth``; nothing weaker.

A nonce carries the time at which it was made and a keyed hash of that, so none has to be
remembered until somebody has logged in with it.  From then on its request counters (``nc``) are
kept until it expires, and each counts once, whichever worker it is sent to: what was overheard
cannot be sent again.
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

#: Nonces in use at once; beyond about so many a client is asked to start with a new one.
MAX_NONCES = 10_000
#: Counters behind the highest that may still come: requests overtake one another.
WINDOW = 64

_COUNTER = re.compile(r"[0-9A-Fa-f]{8}")
_NEEDED = ("uri", "nonce", "nc", "cnonce", "response")


class LoginError(Exception):
    """Credentials are refused; the text says why.

    Parameters
    ----------
    reason : str
        For the log.
    stale : bool
        Whether they were right, and only their nonce has expired.
    """

    def __init__(self, reason: str, stale: bool = False) -> None:
        super().__init__(reason)
        self.stale = stale


@dataclass
class _Counters:
    """Which counters of one nonce have been used: the highest, and a bit for each below it."""

    highest: int = 0
    used: int = 0

    def use(self, count: int) -> bool:
        """Use a counter; False if it was used already or is too old to tell."""
        if count > self.highest:
            # A shift by what a client says would be as long as it likes.
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
    """Challenges, and what is said in answer to them.

    Parameters
    ----------
    seconds : float
        How long a nonce is good.
    clock : callable
        Seconds, never going back, the same in all processes.
    key : bytes, optional
        Signs nonces; random for each start, so that a restart makes all of them stale.
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

    def check(self, given: Mapping[str, str | None], method: str, target: str, ha1: str) -> None:
        """Check what a client has sent.

        Parameters
        ----------
        given : mapping
            Parameters of the ``Authorization`` header.
        method, target : str
            Of the request, as they were sent.
        ha1 : str
            SHA-256 (hex) of ``name:realm:password``.

        Raises
        ------
        LoginError
            If it is not right, or was right before.
        """
        if (given.get("algorithm") or "MD5").upper() != "SHA-256" or given.get("qop") != "auth":
            reason = "the digest is not SHA-256 with qop=auth"
            raise LoginError(reason)
        uri, nonce, nc, cnonce, response = ((given.get(name) or "") for name in _NEEDED)
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
            # Right before a restart, perhaps: the password was.
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
