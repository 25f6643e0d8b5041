"""A receiver that fails in every way and misses nothing, written from the documentation alone.

It registers an endpoint for every event, and then drops requests, answers late, forgets what it took before it has
stored it, takes what it has already, and goes away altogether, all at random (`SEED`). What it stored is one line of a
file for each event, so that a crash of its own loses nothing that it acknowledged. When its standard input ends, it is
well again: it waits for what is still on its way, reads the gaps that `webhook-sequence` shows from its endpoint's feed,
and holds what it has against the tenant's feed, event for event and byte for byte.

Prints one JSON object; exits with 1 if anything is missing, changed or too much.
"""

import http.server
import json
import os
import pathlib
import random
import socketserver
import sys
import threading
import time
import urllib.request

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

URL, KEY = os.environ["RINGBACK_URL"], os.environ["RINGBACK_API_KEY"]
STORE = pathlib.Path(os.environ["STORE"])
DICE = random.Random(int(os.environ["SEED"]))


def call(method, path, body=None):
    """One call of the API."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    request = urllib.request.Request(URL + path, data=data, headers=headers, method=method)
    for attempt in range(50):
        try:
            with urllib.request.urlopen(request, timeout=90) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise
        except OSError:  # the server is being restarted
            if attempt == 49:
                raise
        time.sleep(0.2)
    raise TimeoutError(path)


class Store:
    """Events by `webhook-id`, on disk before they are acknowledged."""

    def __init__(self):
        self.lock, self.events = threading.Lock(), {}
        self.counts = dict.fromkeys(
            ("requests", "dropped", "forgotten", "duplicates", "refused", "from_feed", "away"), 0
        )
        self.highest = 0

    def count(self, what):
        with self.lock:
            self.counts[what] += 1

    def take(self, webhook_id, sequence, body):
        """True if it was new."""
        with self.lock:
            if sequence is not None:
                self.highest = max(self.highest, sequence)
            if webhook_id in self.events:
                return False
            with STORE.open("a", encoding="utf-8") as file:
                file.write(json.dumps([webhook_id, sequence, body]) + "\n")
                file.flush()
                os.fsync(file.fileno())
            self.events[webhook_id] = (sequence, body)
            return True


class Receiver(http.server.BaseHTTPRequestHandler):
    store, webhook, well = Store(), None, False

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.store.count("requests")
        try:
            self.webhook.verify(body, dict(self.headers))
        except WebhookVerificationError:
            self.store.count("refused")
            return self.answer(401)
        with self.store.lock:
            mood = 1.0 if self.well else DICE.random()
        if mood < 0.15:  # nothing is stored, and it says so
            self.store.count("dropped")
            return self.answer(DICE.choice([500, 503, 404]))
        if mood < 0.25:  # nothing is stored, and nothing is said
            self.store.count("dropped")
            return self.connection.close()
        sequence = self.headers["webhook-sequence"]
        sequence = None if sequence is None else int(sequence)
        if mood < 0.33:  # it takes it for stored, and loses it: only the feed has it now
            with self.store.lock:
                self.store.highest = max(self.store.highest, sequence or 0)
            self.store.count("forgotten")
            return self.answer(204)
        if not self.store.take(self.headers["webhook-id"], sequence, body.decode()):
            self.store.count("duplicates")
        if mood < 0.45:  # stored, but the answer is lost: it will come again
            return self.connection.close()
        self.answer(204)

    def answer(self, status):
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, *_):
        pass  # a connection that it closed itself


class House:
    """Where the receiver lives: a port that it leaves and comes back to."""

    def __init__(self):
        self.server = Server(("127.0.0.1", 0), Receiver)
        self.address = self.server.server_address
        self.begin()

    def begin(self):
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def leave(self):
        self.server.shutdown()
        self.server.server_close()

    def come_back(self):
        self.server = Server(self.address, Receiver)
        self.begin()


def read_gaps(store, endpoint):
    """Reads from the endpoint's feed what its numbers say that it has not got; the last number given so far."""
    after = 0
    while True:
        page = call("GET", f"/v1/endpoints/{endpoint}/feed?after={after}&limit=100")
        for item in page["items"]:
            if store.take(item["webhook_id"], item["sequence"], item["body"]):
                store.count("from_feed")
            after = item["sequence"]
        if not page["items"]:
            return page["last"]


def tenant_feed():
    """Everything that happened, in the order of commits."""
    events, cursor = [], ""
    while True:
        page = call("GET", f"/v1/events?cursor={cursor}" if cursor else "/v1/events")
        if not page["items"]:
            return events
        events += page["items"]
        cursor = page["next_cursor"]


def main():
    house, store = House(), Receiver.store
    url = f"http://127.0.0.1:{house.address[1]}/hooks"
    endpoint = call("POST", "/v1/endpoints", {"url": url, "events": ["*"]})
    Receiver.webhook = Webhook(endpoint["secret"])
    print(json.dumps({"endpoint": endpoint["id"]}), flush=True)

    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    next_leave = 60
    while not over.wait(0.05):
        if store.counts["requests"] >= next_leave:
            next_leave += DICE.randint(10, 40)
            house.leave()
            store.count("away")
            time.sleep(0.1 + DICE.random() / 2)
            house.come_back()
            if store.counts["away"] == 1:
                print(json.dumps({"away": 1}), flush=True)

    Receiver.well = True
    last = read_gaps(store, endpoint["id"])
    # What happens while it reads comes by itself, or shows in the next reading.
    while (again := read_gaps(store, endpoint["id"])) != last:
        last = again
    feed = tenant_feed()
    expected = {event["webhook_id"]: event["body"] for event in feed}
    got = {webhook_id: body for webhook_id, (_, body) in store.events.items()}
    numbers = sorted(sequence for sequence, _ in store.events.values() if sequence is not None)
    wrong = {
        "missing": sorted(expected.keys() - got.keys()),
        "too_much": sorted(got.keys() - expected.keys()),
        "changed": sorted(name for name in expected.keys() & got.keys() if expected[name] != got[name]),
        "numbers": numbers != list(range(1, last + 1)),
    }
    stored = [json.loads(line)[0] for line in STORE.read_text(encoding="utf-8").splitlines()]
    wrong["stored_twice"] = len(stored) != len(set(stored))
    print(json.dumps({"events": sorted(got), "last": last, **store.counts, "wrong": wrong}), flush=True)
    return 1 if any(wrong.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
