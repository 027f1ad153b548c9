"""Notices in the body of the node that is running."""

from __future__ import annotations

import html
from collections.abc import Hashable
from textwrap import shorten

LONGEST = 160  # characters of a notice when a node has several; the page shows about four lines of text on a node


class NoticeBoard:
    """The notices of the node that is running. The page shows one text for each node, so all are sent again together.

    A notice stands alone in full. Several are shortened to one line each; the log has their full text.
    """

    def __init__(self) -> None:
        self._run: Hashable = None
        self._notices: list[str] = []

    def add(self, run: Hashable, notice: str) -> str | None:
        """Add a notice to those of a node's `run`, and return the text that shows all of them, as HTML.

        Returns None for a notice that the run has given before. The notices of an earlier run are dropped.
        """
        if run != self._run:
            self._run, self._notices = run, []
        if notice in self._notices:
            return None
        self._notices.append(notice)
        shown = (
            self._notices if len(self._notices) == 1 else [shorten(n, LONGEST, placeholder=" …") for n in self._notices]
        )
        return "\n".join(html.escape(line) for line in shown)
