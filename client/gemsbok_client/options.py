"""The options of a client and of its calls; a call takes them as keyword arguments."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import TypedDict

import httpx

from gemsbok_client.retry import Retry


class ClientOptions(TypedDict, total=False):
    """How to reach the server, and who asks.

    Attributes
    ----------
    token : str
        A bearer token.
    digest : (str, str)
        Name and password for HTTP digest; where there is no token.
    verify : bool, str or SSLContext
        Whom to trust: the system's authorities (True), those in a PEM file, those of a
        context, or anybody (False, for tests).
    timeout : float
        Seconds for connecting, and between any two bytes.
    retry : Retry
        How often and when to try again.
    transport : httpx.BaseTransport
        What requests go through in place of the network.
    """

    token: str
    digest: tuple[str, str]
    verify: bool | str | ssl.SSLContext
    timeout: float
    retry: Retry
    transport: httpx.BaseTransport


class PageOptions(TypedDict, total=False):
    """Which rows: `how_many` (10 if absent) after the first `offset`."""

    how_many: int
    offset: int


class FilterOptions(PageOptions, total=False):
    """Which ids may not be there, and what the server's rescorers are told."""

    exclude: Sequence[str]
    rescorer_params: Sequence[str]


class RecommendOptions(FilterOptions, total=False):
    """Whether known items may be there, and which are the only ones."""

    consider_known_items: bool
    include: Sequence[str]
