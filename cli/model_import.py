"""A document of another tool becomes a generation of an app that is for serving alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from stack.errors import EXIT_UNAVAILABLE, UserError
from stack.rollback import publish

if TYPE_CHECKING:
    from common.config import Settings
    from common.store.generations import Generation, ModelStore

MODEL_FILE = "model.pmml"


def import_model(settings: Settings, store: ModelStore, source: Path, now: int) -> Generation:
    """Check a document, store it as the newest generation, and publish it.

    Parameters
    ----------
    settings : Settings
        The configuration.
    store : ModelStore
        Where the generations lie.
    source : Path
        The document.
    now : int
        Milliseconds since 1970; the new id, if no generation is later.

    Raises
    ------
    UserError
        If it cannot be read or would not be served, the app learns its models itself, or the
        broker does not take it.
    """
    text = _checked(settings, source)
    generation = _stored(settings, store, text, now)
    _publish(settings, store, generation)
    return generation


def _checked(settings: Settings, source: Path) -> str:
    """Return the document's text once the family has loaded it as serving would."""
    from common.replica.updates import ModelMessage
    from common.runtime.families import family_module, has_layer
    from common.wire.messages import MessageError

    if has_layer(settings.app, "batch"):
        message = f'app = "{settings.app}" builds its models itself: the batch layer does.'
        raise UserError(message, "Import with `--conf conf/pmml.toml`, or --set app=pmml.")
    limit = settings.section(settings.app).max_size
    try:
        # Looked at before it is read: what is far too large is not brought into memory.
        size = source.stat().st_size
        text = source.read_text(encoding="utf-8") if size <= limit else ""
    except (OSError, UnicodeDecodeError) as error:
        message = f"{source} cannot be read: {getattr(error, 'strerror', None) or error}."
        raise UserError(message) from None
    if size > limit:
        message = f"{source} has {size} bytes, and {settings.app}.max_size is {limit}."
        raise UserError(message)
    family = family_module(settings.app, "serving_layer", ("Serving",))
    try:
        family.Serving(settings).load(ModelMessage(None, text))
    except MessageError as error:
        message = f"{source} is refused: {error}."
        raise UserError(message) from None
    return text


def _stored(settings: Settings, store: ModelStore, text: str, now: int) -> Generation:
    from common import __version__
    from common.config import fingerprint
    from common.pmml.documents import FOREIGN, parse, read_application
    from common.store.generations import Manifest

    id_ = max([now, *(known + 1 for known in store.ids())])
    folder = store.new(id_)
    (folder / MODEL_FILE).write_text(text, encoding="utf-8")
    manifest = Manifest(
        id_,
        settings.app,
        MODEL_FILE,
        files={},
        topic_id="",
        cut={},
        created=now,
        engine=read_application(parse(text, versions=FOREIGN)),
        configuration_sha256=fingerprint(settings),
        code_version=__version__,
    )
    return store.commit(folder, manifest)


def _publish(settings: Settings, store: ModelStore, generation: Generation) -> None:
    from common.broker import BrokerError
    from common.broker.topics import UnusableTopicError

    try:
        publish(settings, store, generation)
    except (BrokerError, UnusableTopicError) as error:
        message = f"Stored as generation {generation.id}, but the broker did not take it: {error}."
        remedy = "A serving layer loads it when it starts; call again once the broker is there."
        raise UserError(message, remedy, EXIT_UNAVAILABLE) from None
