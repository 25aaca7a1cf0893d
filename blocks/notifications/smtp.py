"""Messages as mail."""

import contextlib
import smtplib
import ssl
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from blocks.context import Context
from tasks.common.errors import Refused, Retryable
from tasks.common.model import Problem, StrictModel, refuse
from tasks.common.secrets import SecretRef
from tasks.common.units import MAIL_PATTERN, PositiveDuration
from tasks.notify.format import message_id, plain_text, redacted, subject
from tasks.notify.model import Message

_HOST = r"^[A-Za-z0-9:.-]+$"
_SAYS_SHOWN = 200
_TEMPORARY = range(400, 500)

MailAddress = Annotated[str, Field(pattern=MAIL_PATTERN, max_length=254)]
"""A plain address, without a name: nothing in it can be read as a second one, or as a header.

*Source:* the atom of RFC 5322, section 3.2.3; lengths of RFC 5321, section 4.5.3.1.
"""


class SmtpNotifier:
    """Implements `Notifier` with one mail a message, to all recipients at once.

    A password is only given over TLS, and a server's certificate is always checked.
    """

    keeps_trouble_open = False

    class Settings(StrictModel):
        """Which mail server, from whom, and to whom."""

        host: str = Field(pattern=_HOST, description="the mail server's name or address")
        port: int = Field(default=587, ge=1, le=65535, description="its port for submission")
        starttls: Literal["required", "if-offered", "never"] = Field(
            default="required", description="encryption: refused without it, used where offered, or never used"
        )
        user: str = Field(default="", description="name to log in with; no log-in if empty")
        password: SecretRef | None = Field(default=None, description="reference to the password")
        sender: MailAddress = Field(alias="from", description="address that the mail is from")
        to: list[MailAddress] = Field(min_length=1, max_length=50, description="addresses that it goes to")
        timeout_s: PositiveDuration = Field(
            default=5.0, alias="timeout", le=20, description="longest wait for the connection, and for each answer"
        )

        @model_validator(mode="after")
        def _whole(self) -> Self:
            problems = []
            if bool(self.user) != (self.password is not None):
                missing = "password" if self.user else "user"
                problems.append(Problem((missing,), "nothing", "this key: 'user' and 'password' go together"))
            if self.password is not None and self.starttls == "never":
                expected = "'required' or 'if-offered', as a password is only given over TLS"
                problems.append(Problem(("starttls",), "the text 'never'", expected))
            refuse("Settings", problems)
            return self

    def __init__(self, settings: Settings, context: Context) -> None:
        self._settings = settings
        self._secrets = context.secrets
        self._on = f"{settings.host}:{settings.port}"

    def send(self, message: Message) -> None:
        """The server has taken the mail for every recipient. *Idempotent:* no; a copy has the same Message-ID.

        Raises:
            Retryable: it does not answer, or cannot take it now (4xx).
            Refused: it does not let us in, does not offer TLS, or will not take the mail, or not for everybody.
        """
        password = self._secrets.resolve(self._settings.password) if self._settings.password else ""
        mail = self._mail(redacted(message, self._secrets.redact))
        problem: Refused | Retryable | None = None
        try:
            refused = self._hand_over(mail, password)
            if refused:
                problem = self._not_for(refused, others=True)
        # Not chained: what a server says may repeat what it was told.
        except ssl.SSLCertVerificationError as error:
            problem = self._refused(
                f"the mail server's certificate is not accepted: {error.verify_message}",
                "check 'host'; SSL_CERT_FILE names certificates that Slipway trusts",
            )
        except smtplib.SMTPRecipientsRefused as error:
            problem = self._all_refused(error)
        except smtplib.SMTPResponseException as error:
            problem = self._judged(error.smtp_code, error.smtp_error)
        except smtplib.SMTPNotSupportedError:
            problem = self._refused("the mail server does not know how to log in", "leave out 'user' and 'password'")
        except (OSError, ValueError) as error:  # smtplib's own errors are OSErrors
            problem = self._retryable(f"the mail server does not answer: {type(error).__name__}")
        if problem is not None:
            raise problem

    def _hand_over(self, mail: EmailMessage, password: str) -> list[str]:
        """Return the recipients that the server did not take it for, where it took it for others."""
        server = smtplib.SMTP(self._settings.host, self._settings.port, timeout=self._settings.timeout_s)
        try:
            self._log_in(server, password)
            refused = sorted(server.send_message(mail))
            # It is theirs now: a farewell that fails must not have it sent again.
            with contextlib.suppress(OSError):
                server.quit()
            return refused
        finally:
            server.close()

    def _log_in(self, server: smtplib.SMTP, password: str) -> None:
        """The connection is as safe as was asked for, and we are let in."""
        server.ehlo_or_helo_if_needed()
        offered = server.has_extn("starttls")
        if not offered and (password or self._settings.starttls == "required"):
            raise self._refused(
                "the mail server does not offer encryption",
                "use the port that does (587, usually), or a server that does",
            )
        if offered and self._settings.starttls != "never":
            server.starttls(context=ssl.create_default_context())
            server.ehlo()
        if password:
            server.login(self._settings.user, password)

    def _mail(self, message: Message) -> EmailMessage:
        mail = EmailMessage(policy=SMTP)
        mail["From"] = self._settings.sender
        mail["To"] = ", ".join(self._settings.to)
        mail["Subject"] = subject(message)
        mail["Date"] = format_datetime(message.at)
        mail["Message-ID"] = message_id(message, self._settings.sender.partition("@")[2])
        # So that no vacation notice comes back (RFC 3834).
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(plain_text(message), cte="quoted-printable")
        return mail

    def _judged(self, code: int, says: bytes | str) -> Refused | Retryable:
        text = says.decode(errors="replace") if isinstance(says, bytes) else says
        shown = "".join(each if each.isprintable() else " " for each in self._secrets.redact(text))[:_SAYS_SHOWN]
        if code in _TEMPORARY:
            return self._retryable(f"the mail server cannot take it now: {code} {shown}")
        return self._refused(
            f"the mail server refuses it: {code} {shown}",
            "check 'user', 'password', 'from' and 'to' in the estate file",
        )

    def _all_refused(self, error: smtplib.SMTPRecipientsRefused) -> Refused | Retryable:
        codes = [code for code, _ in error.recipients.values()]
        if all(code in _TEMPORARY for code in codes):
            return self._retryable(f"the mail server takes it for nobody now: {codes[0]}")
        return self._not_for(sorted(error.recipients), others=False)

    def _not_for(self, recipients: list[str], *, others: bool) -> Refused:
        return Refused(
            f"the mail server does not take mail for {', '.join(recipients)}",
            on=self._on,
            state="the others have it" if others else "the message was not sent",
            next_action="check 'to' in the estate file",
        )

    def _refused(self, what: str, next_action: str) -> Refused:
        return Refused(what, on=self._on, state="the message was not sent", next_action=next_action)

    def _retryable(self, what: str) -> Retryable:
        return Retryable(
            what,
            on=self._on,
            state="the message may not have been sent",
            next_action="check that this worker reaches the mail server, and the server's log",
        )
