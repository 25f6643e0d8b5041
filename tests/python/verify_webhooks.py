"""Judges every webhook of a run with a library that is not ours.

Reads files of JSON lines, each {"secret", "received_at", "headers": [[name, value], ...], "body": base64}, and exits
with 1 if `standardwebhooks` refuses one. The library's five minutes of tolerance are counted from `received_at`, so
that the verdict does not depend on when the files are read.
"""

import base64
import datetime
import json
import sys

from standardwebhooks import webhooks

SIGNED = ("webhook-id", "webhook-timestamp", "webhook-signature")


def at(moment):
    """A `datetime` whose now() is this moment."""

    class Then(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls.fromtimestamp(moment, tz)

    return Then


def refusal(line):
    """Why this webhook is refused, or None."""
    record = json.loads(line)
    names = [name.lower() for name, _ in record["headers"]]
    for name in SIGNED:
        if names.count(name) != 1:
            return f"{name} came {names.count(name)} times"
    webhooks.datetime = at(record["received_at"])
    try:
        webhooks.Webhook(record["secret"]).verify(base64.b64decode(record["body"]), dict(record["headers"]))
    except Exception as error:  # whatever the library raises, it did not accept
        return f"{type(error).__name__}: {error}"
    return None


def main(paths):
    judged, refused = 0, 0
    for path in paths:
        with open(path, encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                judged += 1
                why = refusal(line)
                if why is not None:
                    refused += 1
                    print(f"{path}:{number}: {why}", file=sys.stderr)
    print(f"standardwebhooks (Python) judged {judged} webhooks, refused {refused}")
    return 1 if refused or not judged else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
