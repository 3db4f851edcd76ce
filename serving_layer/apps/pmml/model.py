"""The document in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.pmml.documents import PmmlError
from common.wire.messages import MessageError
from serving_layer.api import ServingModel
from serving_layer.apps.pmml.document import Document
from serving_layer.apps.pmml.evaluator import EvaluatorError, SharedJava

if TYPE_CHECKING:
    from common.config import Settings
    from common.replica.updates import ModelMessage


class Serving(ServingModel):
    """The newest document.

    Parameters
    ----------
    settings : Settings
        Its table ``[pmml]`` counts.
    java : SharedJava, optional
        Scores it; the process of all documents by default.
    """

    fraction_loaded = 1.0
    document: Document

    def __init__(self, settings: Settings, java: SharedJava | None = None) -> None:
        self._settings = settings.section("pmml")
        self._java = java

    def load(self, model: ModelMessage) -> None:
        """Check and load a document; raises MessageError if it is refused."""
        try:
            self.document = Document.load(model.text, self._settings, self._java)
        except (PmmlError, EvaluatorError) as error:
            raise MessageError(str(error)) from error

    def apply(self, update: str) -> None:
        """Raise MessageError: a document does not learn."""
        message = "a document of another tool takes no updates"
        raise MessageError(message)

    def to_pmml(self) -> bytes:
        """Return the document itself."""
        return self.document.text.encode()
