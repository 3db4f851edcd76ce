"""SIGTERM and failpoints, each in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

#: Minutes of compiled code, in which Python delivers no signal.
BUSY = "hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)"


def run(code: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_sigterm_is_raised_in_the_main_thread() -> None:
    code = (
        "import time; from common.runtime.termination import *; raise_on_sigterm(20)\n"
        "try: print('ready', flush=True); time.sleep(60)\n"
        "except Terminated: print('ended')"
    )
    with run(code) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=60)[0] == "ended\n"
    assert process.returncode == 0


def test_a_call_that_holds_the_signal_up_ends_at_the_limit() -> None:
    code = (
        "import hashlib, threading\n"
        "from common.runtime.termination import *\n"
        "raise_on_sigterm(0.5)\n"
        "threading.Timer(0.3, print, ['ready'], {'flush': True}).start()\n"
        f"{BUSY}"
    )
    with run(code) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert time.monotonic() - started > 0.4


@pytest.mark.parametrize(
    ("wanted", "printed"), [("b", "1\n"), ("b:2", "1\n2\n"), ("c", "1\n2\n3\n")]
)
def test_a_failpoint_kills_at_the_hit_that_is_asked_for(wanted: str, printed: str) -> None:
    code = (
        "from common.base.failpoint import failpoint\n"
        "for i in (1, 2, 3): print(i, flush=True); failpoint('a'); failpoint('b')"
    )
    with run(code, GEMSBOK_FAILPOINT=wanted) as process:
        assert process.communicate(timeout=60)[0] == printed
    assert process.returncode == (0 if wanted == "c" else -signal.SIGKILL)
