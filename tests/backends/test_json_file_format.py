"""How records are spelled as JSON: one spelling for each, and nothing is lost."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oauth_refresh.backends.json_format import Old, decode, encode, record, spell, unspell

names = st.binary(min_size=1, max_size=40) | st.text(min_size=1, max_size=20).map(str.encode)
times = st.none() | st.floats(allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"k", "k="),
        (b"cdesktop", "c=desktop"),
        (b"s" + "zoë".encode(), "s=zoë"),
        (b'a"\\ :=', 'a="\\ :='),
        (b"g" + bytes(16), "g:" + "00" * 16),
        (b"k\x7f", "k:7f"),
        (b"k\xc2\x85", "k:c285"),
        (b"k\xff", "k:ff"),
        (b"\0", "00="),
        (b"\0k", "00=k"),
        (b"\xff\xff", "ff:ff"),
        (b"_", "5f="),
        ("é".encode(), "c3:a9"),
    ],
)
def test_a_name_has_one_spelling(name: bytes, text: str) -> None:
    assert spell(name) == text
    assert unspell(text) == name


@given(names)
def test_every_name_is_read_back(name: bytes) -> None:
    assert unspell(spell(name)) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "k",
        "=",
        ":",
        "k:",
        "k:6",
        "k:6G",
        "k:6B",
        "k:6b",
        "6b=",
        "_=a",
        "FF:ff",
        "k=\n",
        "g4f",
        "kk=a",
        "k:ff ",
    ],
)
def test_another_spelling_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not spelled"):
        unspell(text)


@given(
    st.dictionaries(
        names, st.tuples(st.binary() | st.text().map(str.encode), times, st.frozensets(names, max_size=8))
    )
)
def test_every_record_is_read_back(
    contents: dict[bytes, tuple[bytes, float | None, frozenset[bytes]]],
) -> None:
    records = {spell(key): record(*content) for key, content in contents.items()}
    data = encode(records)
    spelled = frozenset(spell(name) for key, content in contents.items() for name in (key, *content[2]))
    assert decode(data, frozenset()) == (records, spelled)
    assert {
        unspell(name): (found.body, found.expires_at, frozenset(unspell(term) for term in found.index))
        for name, found in records.items()
    } == contents
    assert json.loads(data)["version"] == 3
    assert data.count(b"\n") == max(len(records), 1) + 2


@pytest.mark.parametrize("version", [1, 2])
def test_an_old_file_is_given_as_it_is(version: int) -> None:
    content = {"version": version, "tokens": {"a": {"created_at": "2024-01-01T00:00:00.123456789Z"}}}
    assert decode(json.dumps(content).encode(), frozenset()) == Old(version, content)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "line 1: the file is empty: restore a backup, or delete it to begin anew"),
        (b" \n", "line 1: the file is empty: restore a backup, or delete it to begin anew"),
        (b'{"version":3,"records":{\n"k=":{"text":"a"},\n"', "line 3: Input data was truncated"),
        (b'{"version":3,"records":{\n"k=":{"text":"a"},\n', "line 2: Input data was truncated"),
        (
            b'{"version":3,\n"records":{\n<<<<<<< HEAD\n',
            "line 3: JSON is malformed: object keys must be strings",
        ),
        (b'{"version":3,"records":{\n}}\n}', "line 3: JSON is malformed: trailing characters"),
        (b'{"version":3,"records":{\n"k=":{"text":"\xff"}}}', "line 2: this is not UTF-8"),
        (b'{"version":3,"records":{\n"k=":{"text":"\\ud800"}}}', "line 2: "),
        (b"[" * 100_000, "line 1: it is nested too deeply"),
        (b'{"version":3}', "line 1: Object missing required field `records`"),
        (b'{"version":3,"records":[]}', "line 1: Expected `object`, got `array` - at `$.records`"),
        (b'{"version":3,"records":{},"x":1}', "line 1: Object contains unknown field `x`"),
        (
            b'{"version":3,"records":{\n"k=":{"text":"a"},\n"l=":{"base64":"a"}}}',
            "line 3: Invalid base64 encoded string - at `$.base64`",
        ),
        (
            b'{"version":3,"records":{\n"k=5":{"text":""},"l=":\n5}}',
            "line 3: Expected `object`, got `int`",
        ),
        (
            b'{"version":3,"records":{\n"k=":{"text":"a","expires_at":"soon"}}}',
            "line 2: Expected `float | null`, got `str` - at `$.expires_at`",
        ),
        (
            b'{"version":3,"records":{\n"k=":{"text":"a","base64":"YQ=="}}}',
            'line 2: a record needs either "text" or "base64"',
        ),
        (b'{"version":3,"records":{\n"k=":{}}}', 'line 2: a record needs either "text" or "base64"'),
        (
            b'{"version":3,"records":{"k=":{"text":"a"},\n"k":{"text":"a"}}}',
            "line 2: a key or index term is not spelled as this format demands",
        ),
        (
            b'{"version":3,"records":{\n\n"k=":{"text":"a","index":["t=",""]}}}',
            "line 3: a key or index term is not spelled as this format demands",
        ),
    ],
)
def test_what_is_damaged_is_named_by_line_and_reason(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - its whole text is looked at
        decode(data, frozenset())
    text = str(raised.value)
    assert text.startswith(reason)
    if "the file is empty" not in text:
        assert text.endswith(
            ": mend the file or restore a backup; it is left as it is, and read again when it has changed"
        )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"[]", 'line 1: this is not a registry file (it names no "version"): set another path'),
        (b'"text"', 'line 1: this is not a registry file (it names no "version"): set another path'),
        (b'{"tokens":{}}', 'line 1: this is not a registry file (it names no "version"): set another path'),
        (
            b'{"version":true}',
            'line 1: this is not a registry file (it names no "version"): set another path',
        ),
        (b'{"version":"3"}', 'line 1: this is not a registry file (it names no "version"): set another path'),
        (b'{"version":0}', 'line 1: this is not a registry file (it names no "version"): set another path'),
        (b'{"version":1,"clients":7}', 'line 1: this file of version 1 has no "tokens": set another path'),
        (b'{"version":2,"tokens":[]}', 'line 1: this file of version 2 has no "tokens": set another path'),
        (
            b'{"version":4,"grants":[]}',
            (
                "line 1: its format 4 is newer than this release's (3): "
                "install the release that wrote it, or a later one"
            ),
        ),
    ],
)
def test_what_is_something_else_is_told(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - its whole text is looked at
        decode(data, frozenset())
    assert str(raised.value) == reason


def test_names_that_are_known_are_not_looked_at_again() -> None:
    data = b'{"version":3,"records":{"not well spelled":{"text":"a"}}}'
    known = frozenset(["not well spelled"])
    assert decode(data, known) == ({"not well spelled": record(b"a", None, [])}, known)
