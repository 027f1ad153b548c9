"""What is shown while a run goes on."""

import pytest
from fooocus_stages.serving.console import Console
from fooocus_stages.serving.results import Event


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
