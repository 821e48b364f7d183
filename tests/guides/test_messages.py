"""Every message of an error says what to do, or the guide of messages does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.messages import GAP, is_passed_on, messages, says_what_to_do


def fragments(repository: Path) -> list[str]:
    text = (repository / "stg_ray" / "guides" / "messages.md").read_text()
    cells = re.findall(r"^\| (`.*?`) \| ", text, flags=re.MULTILINE)
    return [fragment for cell in cells for fragment in re.findall(r"`(.*?)`", cell)]


def holds(fragment: str, message: str) -> bool:
    return re.search(re.escape(fragment).replace(re.escape(GAP), ".+"), message) is not None


def test_every_message_says_what_to_do_or_stands_in_the_guide(repository: Path) -> None:
    told = fragments(repository)
    left = [
        f"{file}: {message}"
        for file, message in messages()
        if not is_passed_on(message)
        and not says_what_to_do(message)
        and not any(holds(fragment, message) for fragment in told)
    ]
    assert left == [], "say what to do in the message, or add it to guides/messages.md"


def test_the_guide_has_no_messages_that_nothing_prints(repository: Path) -> None:
    printed = [message for _, message in messages()]
    assert len(printed) > 300
    assert [each for each in fragments(repository) if not any(holds(each, message) for message in printed)] == []


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ("grouping.groups=… but there are … tasks: choose at most …", True),
        ("unknown stage …: did you mean …?", True),
        ("… has the shape …: expected …", True),
        ("… cannot be read", False),
        ("the setting was used", False),
    ],
)
def test_the_rule_for_messages(message: str, says: bool) -> None:
    assert says_what_to_do(message) == says
