"""What looks like syntax and is read as words."""

import pytest
from fooocus_stages.pipelines.text.unread import unread_syntax


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        ("a fox <lora:ink>", "<lora:ink>"),
        ("<LORA:ink:1>", "<LORA:ink:1>"),
        ("<lora: ink : 0.5>", "<lora: ink : 0.5>"),
        ("<lora:ink:0.5:0.7>", "<lora:ink:0.5:0.7>"),
        ("<lora:ink:1:lbw=OUTALL>", "<lora:ink:1:lbw=OUTALL>"),
        ("<lyco:ink:0.5>", "<lyco:ink:0.5>"),
        ("<hypernet:ink:0.5>", "<hypernet:ink:0.5>"),
        ("a \uff1clora\uff1aink\uff1a1\uff1e", "\uff1clora\uff1aink\uff1a1\uff1e"),
        ("a fox lora:ink:0.5", "lora:ink:0.5"),
        ("a <segment:face> fox", "<segment:face>"),
        ("<random[2]:red|blue>", "<random[2]:red|blue>"),
        ("a (fox)++", "(fox)++"),
        ("a (red fox)1.3 in snow", "(red fox)1.3"),
        ("a (fox:1, 2)", "(fox:1, 2)"),
        ("a ${hue} fox", "${hue}"),
        ("a fox ADDCOL snow", "ADDCOL"),
        ("a fox --ar 3:2", "--ar 3:2"),
        ("Negative prompt: blurry", "Negative prompt:"),
        ("a,embedding:bad", "embedding:bad"),
        ("Embedding:bad", "Embedding:bad"),
        ("embedding: bad", "embedding: bad"),
        ("[[red,blue]] fox", "[[red,blue]]"),
        ("{red|blue} fox", "{red|blue}"),
        ("[red:blue:0.5] fox", "[red:blue:0.5]"),
        ("[a hat:0.5] fox", "[a hat:0.5]"),
        ("[red|blue] fox", "[red|blue]"),
        ("a fox <lora:ink:1, red", "<lora:ink:1, red"),
        ("a fox BREAK snow", "BREAK"),
        ("a fox AND a hat", " AND "),
        ("__loop__ fox", "__loop__"),
    ],
)
def test_a_sentence_names_the_piece(text: str, piece: str) -> None:
    (sentence,) = unread_syntax(text)
    assert sentence.startswith(f"{piece!r} is read as words: ")


@pytest.mark.parametrize(
    "text",
    [
        "a fox, (red:1.4), ((blue)) [eyes]",
        "embedding:bad (embedding:worse:1.2) a\nembedding:third",
        "ratio 16:9 [1:2], a < b > c",
        "embedding of words",
        "A FOX AND A HAT, breakfast",
        "{plain}",
        "a fox -- red, C++ code (1.5), (1980), <3, a <- b, flora:1:2",
        "(fox), (red)2 eyes",
    ],
)
def test_plain_words_and_known_syntax_are_not_reported(text: str) -> None:
    assert list(unread_syntax(text)) == []
