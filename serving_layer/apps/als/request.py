"""What ALS's routes and resources share: the model that a request sees."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from serving_layer.apps.als import queries
from serving_layer.apps.als.model import Serving
from serving_layer.apps.als.view import AlsView
from serving_layer.http.errors import ApiError, unknown_id
from serving_layer.request.context import model


@contextmanager
def view_of_request() -> Iterator[AlsView]:
    """Give the request's model; what it cannot answer becomes the client's error.

    Raises
    ------
    ApiError
        404 for an unknown id, 503 where there is no model, or one that cannot fold in.
    """
    try:
        yield model(Serving).view
    except queries.UnknownIdError as error:
        raise unknown_id(error.kind, error.id) from None
    except queries.NoSolverError as error:
        raise ApiError(503, "no_solver", str(error)) from None
