"""What is kept of a command holds no password."""

import pytest

from pseudo3d.report.cards.secrets import masked, masked_text, masked_words


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("rtsp://admin:pw@10.0.0.2/live", "rtsp://***@10.0.0.2/live"),
        ("s3://bucket/a?X-Amz-Signature=1f2e&part=2", "s3://bucket/a?X-Amz-Signature=***&part=2"),
        ("https://host/a?sv=1&sig=abc%3D", "https://host/a?sv=1&sig=***"),
        ("--token=abc", "--token=***"),
        ("aws_secret_access_key=xyz", "aws_secret_access_key=***"),
        ("authorization: Bearer abc", "authorization: Bearer ***"),
        ("data/films/manifest.csv", "data/films/manifest.csv"),
        ("input.color=gray", "input.color=gray"),
        ("https://host/a?b=c", "https://host/a?b=c"),
    ],
)
def test_passwords_of_addresses_and_values_of_secret_names_are_hidden(text, kept):
    assert masked_text(text) == kept


def test_the_word_after_a_secret_option_is_hidden_and_no_other():
    words = ["p3d", "serve", "--api-key", "abc", "--port", "80", "--token", "--quiet", "x"]
    hidden = ["p3d", "serve", "--api-key", "***", "--port", "80", "--token", "--quiet", "x"]
    assert masked_words(words) == hidden


def test_secrets_are_found_however_deep_they_lie():
    value = {"a": [{"password": "pw", "n": 1}, "http://u:p@h/"], "b": None}
    assert masked(value) == {"a": [{"password": "***", "n": 1}, "http://***@h/"], "b": None}
