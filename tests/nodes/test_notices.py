"""The text on a node that has several notices."""

from __future__ import annotations

from fooocus_stages.nodes.comfy.notices import LONGEST, NoticeBoard
from fooocus_stages.pipelines.errors import BadValue, UnknownName, UserError


def test_the_notices_of_a_node_are_shown_together_one_per_line() -> None:
    board = NoticeBoard()
    assert board.add("a", "first <b>") == "first &lt;b&gt;"
    assert board.add("a", "second") == "first &lt;b&gt;\nsecond"
    assert board.add("a", "second") is None
    assert board.add("b", "third") == "third"


def test_a_single_notice_is_shown_in_full_and_several_are_shortened() -> None:
    board, long = NoticeBoard(), "word " * 80
    assert board.add("a", long) == long
    shortened, last = board.add("a", "last").split("\n")
    assert len(shortened) <= LONGEST
    assert shortened.endswith("…")
    assert last == "last"


def test_errors_for_people_have_a_short_type_name_in_an_error_report() -> None:
    assert {error.__module__ for error in (UserError, BadValue, UnknownName)} == {"fooocus_stages"}
