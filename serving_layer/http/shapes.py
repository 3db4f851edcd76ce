"""Rules that a path's first segment and its number of segments tell apart from all others.

Most are such: ``/recommend/<user>`` is the only one that begins so and has two segments.  To
look them up takes a microsecond, where the general router, which knows far more kinds of rules,
takes a fifth of a small request's time.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from werkzeug.routing import Rule

#: A path's first segment, and how many it has.
Shape = tuple[str, int]

#: Segments of the longest path that is told by its shape.
MOST = 16

_NAME = re.compile(r"<(\w+)>")


@dataclass(frozen=True)
class _Told:
    """A rule with the text and the names of its segments, by their position in the path."""

    rule: Rule
    texts: Mapping[int, str]
    names: Mapping[int, str]

    @classmethod
    def of(cls, rule: Rule) -> _Told:
        segments = dict(enumerate(_segments(rule)))
        found = {at: _NAME.fullmatch(segment) for at, segment in segments.items()}
        return cls(
            rule,
            texts={at: segments[at] for at, name in found.items() if name is None},
            names={at: name[1] for at, name in found.items() if name is not None},
        )

    def arguments(self, segments: list[str]) -> dict[str, Any] | None:
        """Return what a path gives the view; None where the rule is not for it."""
        for at, text in self.texts.items():
            if segments[at] != text:
                return None
        for at in self.names:
            if not segments[at]:
                return None
        return {name: unquote(segments[at]) for at, name in self.names.items()}


class Shapes:
    """The rules of a router that are told by their shape.

    Parameters
    ----------
    rules : iterable of Rule
        All of the router's; its paths are canonical (:mod:`serving_layer.http.paths`).
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        every = list(rules)
        claimed = Counter(shape for rule in every for shape in _claimed(rule))
        alone = {} if any("<" in first for first, _ in claimed) else claimed
        self._told = {
            _shape(rule): _Told.of(rule)
            for rule in every
            if alone.get(_shape(rule)) == 1 and _is_ordinary(rule)
        }

    def __iter__(self) -> Iterator[tuple[Shape, Rule]]:
        """Yield each shape with its rule."""
        return ((shape, told.rule) for shape, told in self._told.items())

    def match(self, path: str, method: str) -> tuple[Rule, dict[str, Any]] | None:
        """Return a canonical path's rule and what it gives the view; None if the router must say.

        So it must also where nothing matches, as only it knows why.
        """
        segments = path.split("/")[1:]
        told = self._told.get((segments[0], len(segments))) if segments else None
        if told is None or method not in (told.rule.methods or ()):
            return None
        arguments = told.arguments(segments)
        return None if arguments is None else (told.rule, arguments)


def _segments(rule: Rule) -> list[str]:
    return rule.rule.split("/")[1:]


def _shape(rule: Rule) -> Shape:
    segments = _segments(rule)
    return segments[0], len(segments)


def _claimed(rule: Rule) -> Iterator[Shape]:
    """Yield the shape of each path for which the router might take this rule."""
    segments = _segments(rule)
    for at, segment in enumerate(segments):
        if "<" in segment and not _NAME.fullmatch(segment):
            # Of its converter nothing is known: it may take several segments.
            yield from ((segments[0], count) for count in range(at + 1, MOST + 1))
            return
    yield _shape(rule)
    if segments[-1] == "":
        # Without the slash, the router has something to say on it too.
        yield segments[0], len(segments) - 1


def _is_ordinary(rule: Rule) -> bool:
    """Whether the path is all that the rule goes by, and each of its segments has one meaning."""
    special = (rule.subdomain, rule.defaults, rule.redirect_to, rule.alias, rule.websocket)
    plain = all("<" not in one or _NAME.fullmatch(one) for one in _segments(rule))
    return plain and not any(special) and not rule.build_only and len(_segments(rule)) <= MOST
