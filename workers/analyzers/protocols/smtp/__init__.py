"""SMTP (RFC 5321): the mails of a connection, as they were written, and the dialogue that brought them.

    grammar.py       what commands and replies look like; by what the protocol is known
    steps.py         one direction as something to be read step by step, whatever its pieces
    dots.py          the text of DATA: stuffed dots, and where it ends
    mail.py          one transaction: its mail, its facts, its exchange
    conversation.py  who says what when: commands and their replies, in turn
    analyzer.py      the seam

Each mail is an entity of the kind SMTPMAIL, its lines as their author wrote them: stuffed dots removed, the chunks of
BDAT joined. The dialogue is the text SMTP of each side, byte for byte. LMTP (RFC 2033), which answers a mail once for
every recipient, is not read.

The conversation is read as it was held: a command, its reply, the next command. A client that sends several
at once (RFC 2920) has to wait here. So which side is read next follows from what was read, and never from how the
bytes came in.
"""

from __future__ import annotations

from typing import Final

from workers.analyzers.protocols.smtp.analyzer import Smtp
from workers.analyzers.protocols.smtp.grammar import recognize
from workers.analyzers.seam import Protocol

PROTOCOL: Final = Protocol(
    name="smtp",
    summary="mails sent by SMTP, each as an .eml",
    kinds=("SMTP", "SMTPMAIL"),
    accounts=(
        "command_bytes",  # lines of the client, those of AUTH included
        "reply_bytes",
        "body_bytes",  # of mails, stuffed dots removed
        "framing_bytes",  # stuffed dots, and the dot that ends a mail with its line end
        "skipped_bytes",  # what is neither, and what was passed over in search of a command
        "left_bytes",  # behind STARTTLS
        "missing_bytes",
    ),
    recognize=recognize,
    make=Smtp,
)
