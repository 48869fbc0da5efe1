"""Answers requests, one line of JSON each, in the order in which they come.

    python -m client RELAY HANDLE

A request is `{"do": NAME, ...}`, NAME being a method of `client.Client` and the rest its arguments. The answer is what
the method returns; or `{"refused": LAYER, "reason": TEXT}` if the client does not believe what it was shown, LAYER being
one of docs/protocol.md, 12, or a name of 15; or `{"problem": NAME}` if the relay refuses.
"""

import json
import sys

from reader.layers import Refused

from .client import REQUESTS, Client
from .relay import Problem


def answer(client, request):
    name = request.pop("do")
    if name not in REQUESTS:
        raise ValueError(f"no request {name}")
    try:
        return getattr(client, name)(**request)
    except Refused as refused:
        return {"refused": refused.layer, "reason": str(refused)}
    except Problem as problem:
        return {"problem": problem.name}


def main(relay, handle):
    client = Client(relay, handle)
    for line in sys.stdin:
        print(json.dumps(answer(client, json.loads(line))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
