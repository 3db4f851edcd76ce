"""Types of configuration values with their own syntax: addresses, topic names, heaps, paths."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from common.base.paths import home
from common.config.keys import Form


def _address(text: str) -> str:
    if not re.fullmatch(r"[^\s,/]+:\d{1,5}(,[^\s,/]+:\d{1,5})*|memory://[\w.-]+", text):
        message = "must be host:port, or several with commas between them"
        raise ValueError(message)
    return text


def _topic_name(text: str) -> str:
    if not re.fullmatch(r"[\w.-]{1,200}", text, re.ASCII) or text in (".", ".."):
        message = "must be 1 to 200 letters, digits, dots, underscores and dashes (Kafka's rule)"
        raise ValueError(message)
    return text


def _heap(text: str) -> str:
    if not re.fullmatch(r"[1-9]\d*[kmgt]", text):
        message = "must be a number and k, m, g or t, as 512m"
        raise ValueError(message)
    return text


def _location(text: str) -> str:
    """Return a path relative to the state folder as absolute; a URI stays as it is."""
    if re.match(r"[a-z][a-z0-9+.-]+:", text):
        return text
    return str(home() / Path(text).expanduser())


def _file(path: Path) -> Path:
    return home() / path.expanduser()


Address = Annotated[str, AfterValidator(_address), Form("host:port[,host:port]")]
TopicName = Annotated[str, AfterValidator(_topic_name), Form("name of a Kafka topic")]
Heap = Annotated[str, AfterValidator(_heap), Form("size of a Java heap: 512m, 4g")]
Location = Annotated[str, AfterValidator(_location), Form("path or URI")]
File = Annotated[Path, AfterValidator(_file), Form("path")]
