"""The generations that one stream of micro-batches keeps up to date."""

from __future__ import annotations

import logging
import threading
import time

from speed_layer.run.view import View

log = logging.getLogger(__name__)

#: Generations kept up to date at most: the served one, and newer ones that replicas may load.
MAX_LINES = 3


class Lines:
    """Views of generations, the newest last.

    Serving replicas go over to a new generation one by one, when they have loaded it.  Until
    then they serve the one before, which therefore is fed for some time after a newer one has
    caught up with it.

    Parameters
    ----------
    first : View
        The one that is fed at first.

    Attributes
    ----------
    lock : Lock
        Held while a micro-batch is folded in, and while views come and go.
    views : list of View
        What is fed.
    over : bool
        Whether the stream is to be left, and everything opened anew.
    """

    def __init__(self, first: View) -> None:
        self.lock = threading.Lock()
        self.views = [first]
        self.over = False
        self._joined_at = 0.0

    @property
    def newest(self) -> View:
        """The view of the newest generation."""
        return self.views[-1]

    def join(self, view: View) -> None:
        """Feed a view too; the caller holds :attr:`lock`, and has brought it up to the others."""
        self.views.append(view)
        self._joined_at = time.monotonic()
        if len(self.views) > MAX_LINES:
            # Replicas serve the oldest or wait for the newest; those between were passed over.
            self._remove(self.views[1])
        log.info("generation %s has caught up", view.generation)

    def retire_old(self, overlap_seconds: float) -> None:
        """Leave all but the newest, if that has been fed for as long as `overlap_seconds`."""
        if len(self.views) > 1 and time.monotonic() - self._joined_at >= overlap_seconds:
            with self.lock:
                for view in self.views[:-1]:
                    self._remove(view)

    def remove(self, view: View) -> None:
        """Feed a view no more; without any other one the stream is to be left."""
        with self.lock:
            if len(self.views) == 1:
                self.over = True
            else:
                self._remove(view)

    def leave(self) -> None:
        """Fold in nothing more, once the micro-batch that is under way is done."""
        with self.lock:
            self.over = True

    def _remove(self, view: View) -> None:
        self.views.remove(view)
        view.retired = True
        log.info("generation %s is kept up to date no more", view.generation)
