"""The relay's HTTP interface (docs/relay-api.md). Nothing that it says is believed here but which relay it is."""

import base64
import http.client
import json
import secrets
from urllib.parse import urlsplit

from reader.layers import Refused, demand
from reader.primitives import sha256
from reader.roster import prefixed
from reader.transport import Cut

from . import protocol

# Longer than the relay lets a request wait.
PATIENCE = 90
OCTETS = "application/octet-stream"
DELIVER = 0x83


class Problem(Exception):
    """The relay refuses, and says why."""

    def __init__(self, status, name):
        super().__init__(f"{status} {name}")
        self.status, self.name = status, name


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Relay:
    """One relay. The identity that it shows first is pinned; every connection has to prove it again (4.2)."""

    def __init__(self, url):
        self.address = urlsplit(url).netloc
        self.identity = None
        self.api_key = None

    @property
    def id(self):
        return protocol.relay_id(self.identity)

    def ask(self, method, path, body=b"", media=OCTETS):
        """The body of the answer to a request, which goes on a connection of its own."""
        connection = http.client.HTTPConnection(self.address, timeout=PATIENCE)
        try:
            self._prove(connection)
            headers = {"content-type": media} if body else {}
            if self.api_key:
                headers["authorization"] = f"Bearer {self.api_key}"
            return exchange(connection, method, path, body, headers)
        finally:
            connection.close()

    def json(self, method, path, body=None):
        sent = json.dumps(body).encode() if body is not None else b""
        answer = self.ask(method, path, sent, "application/json")
        return json.loads(answer) if answer else None

    def store(self, envelope):
        """Stored only if the relay holds these very bytes (5.6, step 6)."""
        stored = json.loads(self.ask("POST", "/v1/envelopes", envelope))
        demand(stored["hash"] == sha256(envelope).hex(), "context", "the relay holds other bytes")

    def read_queue(self, queue, after, wait=0):
        """Positions and objects of a queue behind a position: what one answer has of them."""
        answer = self.ask("GET", f"/v1/queues/{queue}/envelopes?after={after}&wait={wait}")
        rest, deliveries = Cut(answer), []
        while rest.data:
            frame = Cut(rest.take(rest.number(4)))
            demand(frame.number(1) == DELIVER, "decode", "no delivery")
            cursor = frame.cursor()
            frame.take(16)  # envelope id and time: the relay's word
            deliveries.append((cursor["position"], frame.rest()))
        return deliveries

    def ack(self, queue, position):
        self.json("POST", "/v1/acks", {"acks": [{"queue": queue, "position": position}]})

    def _prove(self, connection):
        nonce = secrets.token_bytes(32)
        answer = exchange(connection, "GET", f"/v1/relay?nonce={nonce.hex()}", b"", {})
        signed = unb64(json.loads(answer)["description"])
        description, _ = protocol.verify_document("RelayDescription", signed, "identity")
        identity = prefixed(description.identity)
        demand(description.nonce == nonce, "context", "a description for somebody else")
        if self.identity is None:
            self.identity = identity
        demand(identity == self.identity, "RELAY_CHANGED", "another relay than the pinned one")


def exchange(connection, method, path, body, headers):
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    data = answer.read()
    if answer.status >= 400:
        try:
            name = json.loads(data)["type"].rpartition(":")[2]
        except (ValueError, KeyError) as error:
            raise Refused("decode", f"status {answer.status} without a problem") from error
        raise Problem(answer.status, name)
    return data
