"""Keyword options of a client and of its calls."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import TypedDict

import httpx

from gemsbok_client.retry import Retry


class ClientOptions(TypedDict, total=False):
    """Options for reaching the server.

    Attributes
    ----------
    token : str
        A bearer token.
    digest : (str, str)
        Name and password for HTTP digest, if there is no token.
    verify : bool, str or SSLContext
        Trusted authorities: the system's (True), those in a PEM file, those of a context, or
        no verification (False, for tests).
    timeout : float
        Timeout in seconds for connecting, and between two bytes.
    retry : Retry
        Number and delays of attempts.
    transport : httpx.BaseTransport
        Replaces the network.
    """

    token: str
    digest: tuple[str, str]
    verify: bool | str | ssl.SSLContext
    timeout: float
    retry: Retry
    transport: httpx.BaseTransport


class PageOptions(TypedDict, total=False):
    """The page: `how_many` rows (10 if absent) after the first `offset`."""

    how_many: int
    offset: int


class FilterOptions(PageOptions, total=False):
    """Ids to exclude, and arguments of the server's rescorer."""

    exclude: Sequence[str]
    rescorer_params: Sequence[str]


class RecommendOptions(FilterOptions, total=False):
    """Whether known items may be recommended, and the only ids that may be."""

    consider_known_items: bool
    include: Sequence[str]
