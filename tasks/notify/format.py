"""Messages as text for mail, as JSON for programs, and as the payload that Slack and those who speak like it take.

Nothing in a message can become markup, a mention, a header or a second line of a title: commit subjects and errors are
other people's text.
"""

import hashlib
from collections.abc import Callable
from dataclasses import replace

from tasks.common.occasion import Occasion, Severity, severity_of
from tasks.notify.model import Message

TITLE_AT_MOST = 150
TEXT_AT_MOST = 3000
FACT_AT_MOST = 500
FACTS_AT_MOST = 20
_SHORT = 40

_COLOURS = {Severity.INFO: "good", Severity.WARNING: "warning", Severity.CRITICAL: "danger"}
_COLOUR_OF_A_QUESTION = "#2f6fde"


def redacted(message: Message, redact: Callable[[str], str]) -> Message:
    """Return the message without secrets. Redacted before anything is cut, so that no half of a secret is left."""
    clean: dict[str, object] = {redact(name): redact(str(value)) for name, value in message.facts.items()}
    return replace(
        message,
        title=redact(message.title),
        text=redact(message.text),
        link=redact(message.link),
        facts=clean,
    )


def subject(message: Message, at_most: int = TITLE_AT_MOST) -> str:
    """Return the title as one line of printable characters, cut to what a list of mails shows, or to `at_most`."""
    return cut(_one_line(message.title), at_most)


def body(message: Message) -> str:
    """Return the text as lines of printable characters, cut to what somebody reads."""
    return cut("\n".join(_printable(line) for line in message.text.strip().splitlines()), TEXT_AT_MOST)


def facts(message: Message) -> list[tuple[str, str]]:
    """Return the facts as pairs of one line each, cut, the first ones where there are many."""
    found = [
        (cut(_one_line(name), FACT_AT_MOST), cut(_one_line(str(value)), FACT_AT_MOST))
        for name, value in message.facts.items()
    ]
    if len(found) > FACTS_AT_MOST:
        return [*found[: FACTS_AT_MOST - 1], ("more", f"{len(found) - FACTS_AT_MOST + 1} facts were left out")]
    return found


def page(message: Message) -> str:
    """Return the address to read on at; '' where there is none, or what is there is no address of a page."""
    link = _one_line(message.link)
    return link if link.startswith(("http://", "https://")) else ""


def colour(occasion: Occasion) -> str:
    """Return the colour of an occasion: that of its severity, and another one for a question."""
    return _COLOUR_OF_A_QUESTION if occasion is Occasion.APPROVAL_WANTED else _COLOURS[severity_of(occasion)]


def plain_text(message: Message) -> str:
    """Return the message as plain text: title, text, one line a fact, link."""
    parts = [subject(message), body(message)]
    parts.append("\n".join(f"{name}: {value}" for name, value in facts(message)))
    parts.append(_one_line(message.link))
    return "\n\n".join(part for part in parts if part) + "\n"


def slack_payload(message: Message) -> dict[str, object]:
    """Return the JSON body for a Slack-compatible incoming webhook: `text`, and one attachment with fields.

    *Source:* https://docs.slack.dev/messaging/formatting-message-text: &, < and > are the characters to escape;
    https://docs.slack.dev/legacy/legacy-messaging/legacy-secondary-message-attachments: the attachment's keys.
    """
    attachment: dict[str, object] = {
        "fallback": escape(subject(message)),
        "color": colour(message.occasion),
        "text": escape(body(message)),
        "fields": [
            {"title": escape(name), "value": escape(value), "short": len(value) <= _SHORT}
            for name, value in facts(message)
        ],
        "mrkdwn_in": [],
        "ts": int(message.at.timestamp()),
    }
    if link := page(message):
        attachment |= {"title": "Read on", "title_link": link}
    return {"text": escape(subject(message)), "mrkdwn": False, "attachments": [attachment]}


def json_payload(message: Message) -> dict[str, object]:
    """Return the JSON for programs: what happened, when, and everything that people are told of it.

    *Source:* Standard Webhooks specification 1.0.0, "Payload structure": type, timestamp, data.
    """
    about = message.about
    return {
        "type": f"notification.{message.occasion}",
        "timestamp": message.at.isoformat(),
        "data": {
            "severity": message.severity,
            "title": subject(message),
            "text": body(message),
            "about": {
                "topic": about.topic,
                "estate": about.estate,
                "service": about.service,
                "environment": about.environment,
                "schedule": about.schedule,
            },
            "facts": dict(facts(message)),
            "link": page(message),
        },
    }


def identity(message: Message) -> str:
    """Return 32 characters that are the same for every try of one message, and others for another message."""
    whole = "\0".join([message.at.isoformat(), message.occasion, str(message.about), plain_text(message)])
    return hashlib.sha256(whole.encode(errors="surrogatepass")).hexdigest()[:32]


def message_id(message: Message, domain: str) -> str:
    """Return the Message-ID header: the same for every try of one message, so that mail systems drop a second copy."""
    return f"<{identity(message)}@{domain}>"


def escape(text: str) -> str:
    """Return the text as Slack shows it unchanged: no link, no mention of a person or a channel."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def cut(text: str, at_most: int) -> str:
    """Return the text, or its beginning and a note of how much was left out; never longer than `at_most`."""
    if len(text) <= at_most:
        return text
    note = f" ... (cut: {len(text)} characters)"
    return text[: at_most - len(note)] + note


def _one_line(text: str) -> str:
    return _printable(" ".join(text.split()))


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "\ufffd" for character in text)
