"""What is shown while a run goes on."""

import pytest
from fooocus_stages.serving.console import Console, Transfer
from fooocus_stages.serving.engine.results import Event


def show(console: Console) -> None:
    console.event(Event("start", "5.x", "Sampler", shown_at="5"))
    for step in range(1, 11):
        console.progress(step, 10)
    console.notice("a stand-in is used")
    console.event(Event("blocked", "6", "Save", shown_at="6", detail="nothing to save"))
    console.event(Event("start", "7", "Decode", shown_at="7"))
    console.close()


def test_plain_lines_in_a_pipe(capfd: pytest.CaptureFixture[str]) -> None:
    show(Console())
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "node 5 Sampler",
        *(f"node 5 Sampler: {n}/10" for n in (2, 4, 6, 8, 10)),
        "note: a stand-in is used",
        "note: node 6 (Save) is blocked: nothing to save",
        "node 7 Decode",
    ]


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    show(Console())
    out, err = capsys.readouterr()
    assert out == ""
    assert "5 Sampler: 100%" in err
    assert "10/10" in err
    assert "note: a stand-in is used\n" in err


def transfer() -> None:
    shown = Transfer("fetching 2 files")
    for have in (0, 10, 11, 200, 150, 1000):
        shown.show(have, 1000)
    shown.close()


def test_bytes_are_lines_in_a_pipe(capfd: pytest.CaptureFixture[str]) -> None:
    transfer()
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines() == [f"fetching 2 files: {n} of 1,000 bytes" for n in ("0", "200", "150", "1,000")]


def test_bytes_are_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    transfer()
    out, err = capsys.readouterr()
    assert out == ""
    assert "fetching 2 files: 100%" in err
    assert "1.00k/1.00k" in err


def test_a_notice_is_shown_once(capfd: pytest.CaptureFixture[str]) -> None:
    console = Console()
    for text in ("one", "two", "one"):
        console.notice(text)
    assert (console.notices, capfd.readouterr().err) == (["one", "two"], "note: one\nnote: two\n")
