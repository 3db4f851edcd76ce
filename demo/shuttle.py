"""Readings of a space shuttle's sensors: the data of the demo of k-means."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from demo.packages import Member, Package, tables

SHUTTLE = Package(
    title="Shuttle",
    requirement="river==0.26.1",
    sha256="6a11e1a9749beec3ea138efeb0205b2c5cea8d424e9deee306c8980faec01bef",
    folder="shuttle",
    members=(
        Member(
            "river/datasets/shuttle.csv.gz",
            "shuttle.csv",
            "8bee3239f80b6549cbf0bc69c07bdcad8bb33fb968329c0678328a8ca971784b",
            49_097,
        ),
    ),
    # Nothing in it is run, so that one archive does for all platforms.
    options=(
        *("--only-binary", ":all:", "--implementation", "cp", "--python-version", "3.11"),
        *("--platform", "manylinux_2_28_x86_64"),
    ),
)
LICENCE = (
    "Statlog (Shuttle): provided by Jason Catlett, NASA, through the UCI Machine Learning "
    "Repository (CC BY 4.0), as prepared for ODDS and carried by the package river (BSD-3-Clause)."
)


@dataclass(frozen=True)
class Readings:
    """The readings in their order.

    Attributes
    ----------
    columns : tuple of str
        Nine sensors, and whether it is an anomaly.
    lines : list of str
        One for each reading.
    """

    columns: tuple[str, ...]
    lines: list[str]


def shuttle(cache: Path) -> Readings:
    """Return 49,097 readings; raises UserError if they cannot be had."""
    [path] = tables(SHUTTLE, cache)
    heading, *lines = path.read_text(encoding="ascii").splitlines()
    return Readings(tuple(heading.split(",")), lines)
