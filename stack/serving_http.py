"""How verbs talk to the serving layer: where it answers, and as whom they ask."""

from __future__ import annotations

import os
import ssl
import urllib.request
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from common.config import Settings

#: Environment variable with the token of a user; a flag would be seen by all who list processes.
TOKEN = "GEMSBOK_TOKEN"


def serving_port(settings: Settings) -> int:
    """Return the port that the serving layer listens to."""
    api = settings.serving.api
    return api.port if api.certificate_file is None else api.secure_port


def serving_url(settings: Settings) -> str:
    """Return where the serving layer answers on this machine, without a slash at the end."""
    api = settings.serving.api
    host = "127.0.0.1" if api.host in ("0.0.0.0", "::") else api.host
    host = f"[{host}]" if ":" in host else host
    scheme = "http" if api.certificate_file is None else "https"
    return f"{scheme}://{host}:{serving_port(settings)}{api.context_path}".rstrip("/")


def open_serving(request: urllib.request.Request, timeout: float) -> Any:
    """Send a request, with the token where there is one; returns the reply.

    Raises
    ------
    OSError
        As :func:`urllib.request.urlopen` does.
    """
    if token := os.environ.get(TOKEN):
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    return _opener(ssl.create_default_context()).open(request, timeout=timeout)


def open_probe(address: str, timeout: float) -> Any:
    """Ask whether the serving layer answers, whatever name its certificate has.

    Nothing secret is sent, and nothing is believed but that something answers.
    """
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return _opener(context).open(address, timeout=timeout)


def _opener(context: ssl.SSLContext) -> urllib.request.OpenerDirector:
    # Serving layers are near: a proxy for the world outside does not know them.
    handlers = (urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    return urllib.request.build_opener(*handlers)
