"""Messages as text for mail, and as the payload that Slack and those who speak like it take.

Nothing in a message can become markup, a mention, a header or a second line of a title: commit subjects and errors are
other people's text.
"""

import hashlib
from collections.abc import Callable
from dataclasses import replace

from tasks.common.occasion import Occasion
from tasks.notify.model import Message

TITLE_AT_MOST = 150
TEXT_AT_MOST = 3000
FACT_AT_MOST = 500
FACTS_AT_MOST = 20
_SHORT = 40

_COLOURS = {
    Occasion.SUCCEEDED: "good",
    Occasion.FAILED: "warning",
    Occasion.ROLLED_BACK: "warning",
    Occasion.UNSAFE: "danger",
    Occasion.APPROVAL_WANTED: "#2f6fde",
    Occasion.RECONCILED: "warning",
    Occasion.DRIFT: "danger",
}


def redacted(message: Message, redact: Callable[[str], str]) -> Message:
    """Return the message without secrets. Redacted before anything is cut, so that no half of a secret is left."""
    facts: dict[str, object] = {redact(name): redact(str(value)) for name, value in message.facts.items()}
    return replace(
        message,
        title=redact(message.title),
        text=redact(message.text),
        environment=redact(message.environment),
        link=redact(message.link),
        facts=facts,
    )


def subject(message: Message) -> str:
    """Return the title as one line of printable characters, cut to what a list of mails shows."""
    return cut(_one_line(message.title), TITLE_AT_MOST)


def plain_text(message: Message) -> str:
    """Return the message as plain text: title, text, one line a fact, link."""
    parts = [subject(message), _lines(message.text)]
    parts.append("\n".join(f"{name}: {value}" for name, value in _facts(message)))
    parts.append(_one_line(message.link))
    return "\n\n".join(part for part in parts if part) + "\n"


def slack_payload(message: Message) -> dict[str, object]:
    """Return the JSON body for a Slack-compatible incoming webhook: `text`, and one attachment with fields.

    *Source:* https://docs.slack.dev/messaging/formatting-message-text: &, < and > are the characters to escape;
    https://docs.slack.dev/legacy/legacy-messaging/legacy-secondary-message-attachments: the attachment's keys.
    """
    attachment: dict[str, object] = {
        "fallback": escape(subject(message)),
        "color": _COLOURS[message.occasion],
        "text": escape(_lines(message.text)),
        "fields": [
            {"title": escape(name), "value": escape(value), "short": len(value) <= _SHORT}
            for name, value in _facts(message)
        ],
        "mrkdwn_in": [],
        "ts": int(message.at.timestamp()),
    }
    link = _one_line(message.link)
    if link.startswith(("http://", "https://")):
        attachment |= {"title": "Read on", "title_link": link}
    return {"text": escape(subject(message)), "mrkdwn": False, "attachments": [attachment]}


def message_id(message: Message, domain: str) -> str:
    """Return the Message-ID header: the same for every try of one message, so that mail systems drop a second copy."""
    whole = "\0".join([message.at.isoformat(), message.occasion, plain_text(message)])
    return f"<{hashlib.sha256(whole.encode(errors='surrogatepass')).hexdigest()[:32]}@{domain}>"


def escape(text: str) -> str:
    """Return the text as Slack shows it unchanged: no link, no mention of a person or a channel."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def cut(text: str, at_most: int) -> str:
    """Return the text, or its beginning and a note of how much was left out; never longer than `at_most`."""
    if len(text) <= at_most:
        return text
    note = f" ... (cut: {len(text)} characters)"
    return text[: at_most - len(note)] + note


def _facts(message: Message) -> list[tuple[str, str]]:
    facts = [
        (cut(_one_line(name), FACT_AT_MOST), cut(_one_line(str(value)), FACT_AT_MOST))
        for name, value in message.facts.items()
    ]
    if len(facts) > FACTS_AT_MOST:
        return [*facts[: FACTS_AT_MOST - 1], ("more", f"{len(facts) - FACTS_AT_MOST + 1} facts were left out")]
    return facts


def _lines(text: str) -> str:
    return cut("\n".join(_printable(line) for line in text.strip().splitlines()), TEXT_AT_MOST)


def _one_line(text: str) -> str:
    return _printable(" ".join(text.split()))


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "\ufffd" for character in text)
