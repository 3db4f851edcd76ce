"""Writes PMML documents, and parses those of untrusted sources.

The parser refuses document type declarations, and so all entities, opens no network connection
or file, and bounds size and depth.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta, timezone

from lxml import etree

VERSION = "4.4"
NAMESPACE = "http://www.dmg.org/PMML-4_4"
#: Versions that are read by default; the elements that we read are the same in all of them.
READABLE = ("4.2", "4.3", "4.4")
#: Versions that are read in documents of other tools.
FOREIGN = ("3.0", "3.1", "3.2", "4.0", "4.1", *READABLE)
MAX_BYTES = 512 * 1024 * 1024
#: Deeper than any tool writes; decision trees nest deepest.
MAX_DEPTH = 256
APPLICATION = "Gemsbok"

_TOO_DEEP = f"PMML nests deeper than {MAX_DEPTH} elements"
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
#: Characters that XML cannot hold; with quotes, backslashes and spaces they need escaping.
_ILLEGAL = r"\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff"
_SPECIAL = re.compile(rf'[ \t\r\n"\\{_ILLEGAL}]')
_ESCAPED = re.compile(rf'["\\{_ILLEGAL}]')
_ITEM = re.compile(
    r'[ \t\r\n]*(?:"([^"\\]*(?:\\.[^"\\]*)*)"|([^ \t\r\n"][^ \t\r\n]*))(?=[ \t\r\n]|\Z)', re.DOTALL
)
_ESCAPE = re.compile(r'\\(["\\]|u[0-9a-f]{4})')


class PmmlError(ValueError):
    """A document cannot be read as PMML; the text names the part and the reason."""


def new_document(application: str = APPLICATION, timestamp: int | None = None) -> etree._Element:
    """Return a new PMML 4.4 document with a header and an empty data dictionary.

    Parameters
    ----------
    application : str
        Name of the application in the header.
    timestamp : int, optional
        Milliseconds since 1970 at which the model was built.
    """
    root = etree.Element(tag("PMML"), nsmap={None: NAMESPACE}, version=VERSION)
    header = etree.SubElement(root, tag("Header"))
    etree.SubElement(header, tag("Application"), name=application)
    if timestamp is not None:
        moment = _EPOCH + timedelta(milliseconds=timestamp)
        etree.SubElement(header, tag("Timestamp")).text = moment.isoformat(timespec="milliseconds")
    etree.SubElement(root, tag("DataDictionary"), numberOfFields="0")
    return root


def tag(name: str, version: str = VERSION) -> str:
    """Return an element's name with PMML's namespace, in lxml's notation."""
    return f"{{http://www.dmg.org/PMML-{version.replace('.', '_')}}}{name}"


def to_bytes(root: etree._Element) -> bytes:
    """Serialise a document as UTF-8 without insignificant white space."""
    return etree.tostring(root, encoding="UTF-8", xml_declaration=True)


def indented(document: bytes) -> bytes:
    """Return a document of ours with each element on a line of its own."""
    root = _parse_xml(document, remove_blank_text=True)
    return etree.tostring(root, pretty_print=True, xml_declaration=True, encoding="UTF-8")


def parse(
    document: str | bytes, max_bytes: int = MAX_BYTES, versions: Collection[str] = READABLE
) -> etree._Element:
    """Parse untrusted XML and return the PMML element.

    Parameters
    ----------
    document : str or bytes
        The document, in UTF-8.
    max_bytes : int
        Largest size accepted.
    versions : collection of str
        PMML versions accepted.

    Raises
    ------
    PmmlError
        If the document is too large or too deep, has a document type declaration, is not
        well-formed UTF-8 XML, or is not PMML of one of the versions.
    """
    data = _bounded(document, max_bytes)
    # Before parsing: libxml2 expands entities inside attributes regardless of its options.
    if b"<!DOCTYPE" in data:
        message = "PMML with a document type declaration is not read; remove <!DOCTYPE …>"
        raise PmmlError(message)
    root = _parse_xml(data)
    if root.xpath(f"boolean({'/*' * (MAX_DEPTH + 1)})"):
        raise PmmlError(_TOO_DEEP)
    if root.tag not in [tag("PMML", version) for version in versions]:
        message = f"root element {root.tag!r} is not PMML of version {', '.join(versions)}"
        raise PmmlError(message)
    return root


def _bounded(document: str | bytes, max_bytes: int) -> bytes:
    # A text has at least as many bytes as characters, so a text that is too long is not encoded.
    if len(document) <= max_bytes:
        data = document.encode() if isinstance(document, str) else document
        if len(data) <= max_bytes:
            return data
    message = f"PMML of more than {max_bytes} bytes is not read"
    raise PmmlError(message)


def read_timestamp(root: etree._Element) -> int | None:
    """Return the header's time in milliseconds since 1970; None if absent or malformed."""
    text = root.findtext("{*}Header/{*}Timestamp", "", None).strip()
    # Java writes the offset as +0000 or Z, which Python 3.10 does not parse.
    text = re.sub(r"([+-]\d\d)(\d\d)$", r"\1:\2", text.replace("Z", "+00:00"))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def read_application(root: etree._Element) -> str:
    """Return the name of the application in the header; empty if there is none."""
    element = root.find("{*}Header/{*}Application", None)
    return "" if element is None else str(element.get("name", ""))


def join_pmml_delimited(items: Iterable[str]) -> str:
    r"""Join strings by spaces; quote those that need it.

    In quotes, a backslash escapes quotes and backslashes, and a character that XML cannot hold
    is written as ``\u`` and four hexadecimal digits, so that :func:`parse_pmml_delimited`
    returns the same strings.
    """
    special = _SPECIAL.search
    return " ".join([_quoted(item) if not item or special(item) else item for item in items])


def parse_pmml_delimited(text: str) -> list[str]:
    """Split a text that :func:`join_pmml_delimited`, Oryx or another writer of arrays joined.

    A backslash before any other character than those above is literal.

    Raises
    ------
    PmmlError
        If a quote is not closed.
    """
    if '"' not in text and "\\" not in text:
        return re.findall(r"[^ \t\r\n]+", text)
    items: list[str] = []
    end = 0
    for match in _ITEM.finditer(text):
        if match.start() != end:
            break
        end = match.end()
        items.append(_unescaped(match[2] if match[1] is None else match[1]))
    if text[end:].strip(" \t\r\n"):
        message = f"bad quotation at character {end} of a PMML list: {text[end : end + 40]!r}"
        raise PmmlError(message)
    return items


def _parse_xml(data: bytes, remove_blank_text: bool = False) -> etree._Element:
    # huge_tree lifts libxml2's limit of 10 MB for the text of one element, which ids exceed;
    # our own limits apply instead.  The encoding is fixed, so that the parser and the search
    # for a document type declaration see the same characters.
    parser = etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=True,
        remove_comments=True,
        remove_pis=True,
        remove_blank_text=remove_blank_text,
    )
    try:
        return etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        # libxml2 has its own limit of depth, which it reaches early in a hostile document.
        if "Excessive depth" in str(error):
            raise PmmlError(_TOO_DEEP) from error
        message = f"PMML is not well-formed XML in UTF-8: {error}"
        raise PmmlError(message) from error


def _quoted(item: str) -> str:
    return f'"{_ESCAPED.sub(_escape, item)}"'


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    return f"\\{character}" if character in '"\\' else f"\\u{ord(character):04x}"


def _unescaped(item: str) -> str:
    return _ESCAPE.sub(_original, item) if "\\" in item else item


def _original(match: re.Match[str]) -> str:
    escaped = match[1]
    return escaped if len(escaped) == 1 else chr(int(escaped[1:], 16))
