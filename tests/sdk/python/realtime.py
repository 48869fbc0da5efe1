"""The SDK's socket between real crypto proxies: what is told live, in which order, and what survives what."""

import asyncio
import json
import time
from contextlib import asynccontextmanager

from agentchatme import last_sync_delivery_id
from agentchatme.types import GroupInvitation, Message
from websockets.asyncio.client import connect

import stage
from stage import AGENTS, SLOW, ask, eventually, holds, same, text

# Longest turn of an alternating conversation. A library that sees a hole in the numbers waits for two seconds.
TURN = 1.5 * SLOW
EVENTS = (
    "message.new",
    "message.read",
    "typing.start",
    "typing.stop",
    "presence.update",
    "group.invite.received",
    "group.deleted",
)


class Ear:
    """An agent that listens: what it was told, in order."""

    def __init__(self, handle, client, **options):
        self.handle, self.client = handle, client
        self.heard, self.gaps, self.errors, self.closed = [], [], [], []
        self.connected = 0
        # Texts with which this agent cannot cope.
        self.unwelcome = set()
        self.rt = stage.realtime(handle, client, on_sequence_gap=self.gaps.append, **options)
        for event in EVENTS:
            self.rt.on(event, self.hear)
        self.rt.on_error(self.errors.append)
        self.rt.on_disconnect(self.closed.append)
        self.rt.on_connect(self.count)

    def count(self):
        self.connected += 1

    def hear(self, frame):
        payload = frame["payload"]
        if frame["type"] == "message.new" and payload["content"].get("text") in self.unwelcome:
            raise RuntimeError("the agent cannot cope with this one")
        self.heard.append((frame["type"], payload))

    def messages(self, sender=None):
        found = [payload for event, payload in self.heard if event == "message.new"]
        return [row for row in found if sender in (None, row["sender"])]

    async def until(self, what, look):
        async def found():
            return look()

        return await eventually(f"{self.handle}: {what}", found)

    async def message(self, id):
        def look():
            return next((row for row in self.messages() if row["id"] == id), None)

        return Message.model_validate(await self.until(f"is told of {id}", look))

    async def event(self, name, wanted):
        def look():
            return next((payload for event, payload in self.heard if event == name and wanted(payload)), None)

        return await self.until(f"is told of a {name}", look)


@asynccontextmanager
async def listening(handle, **options):
    """An agent with a socket, after its hello."""
    async with stage.rest(handle) as client:
        ear = Ear(handle, client, **options)
        async with ear.rt:
            await ear.until("connects", lambda: ear.rt.is_connected)
            yield ear


async def send(ear, to, words):
    key = "conversation_id" if to.startswith("grp_") else "to"
    result = await ear.client.send_message(**{key: to}, text=text(words))
    return result.message


async def settled(ear):
    async def empty():
        return await ear.client.sync() == []

    await eventually(f"{ear.handle} has settled everything", empty)


async def speaks():
    """Both directions at once: told in milliseconds, acknowledged, echoed to the author."""
    async with listening("alice") as alice, listening("bob") as bob:
        for one, other in ((alice, bob), (bob, alice)):
            sent = await send(one, other.handle, "live")
            got = await other.message(sent["id"])
            same((got.sender, got.content.text), (one.handle, text("live")), "a live message")
            echo = await one.message(sent["id"])
            same((echo.sender, echo.seq), (one.handle, sent["seq"]), "the echo of an own message")
        await settled(alice)
        await settled(bob)
        for ear in (alice, bob):
            same([row["seq"] for row in ear.messages()], [1, 2], f"what {ear.handle} was told, in order")
            same((ear.gaps, ear.errors), ([], []), f"gaps and errors of {ear.handle}")
        row = (await alice.client.get_messages(alice.messages()[0]["conversation_id"], after_seq=0, limit=1))[0]
        same(row["status"], "delivered", "a message that was acknowledged over the socket")


async def takes_turns(turns=20):
    """Own messages take numbers too; nobody waits for them."""
    async with listening("alice") as alice, listening("bob") as bob:
        longest = 0
        for turn in range(turns):
            one, other = (alice, bob) if turn % 2 else (bob, alice)
            begin = time.monotonic()
            sent = await send(one, other.handle, f"turn {turn}")
            await other.message(sent["id"])
            longest = max(longest, time.monotonic() - begin)
        holds(longest < TURN, "the longest turn took", longest)
        stage.say(f"{turns} turns, the longest {longest * 1000:.0f} ms")
        for ear in (alice, bob):
            await ear.until("has heard every turn", lambda: len(ear.messages()) == turns)
            seqs = [row["seq"] for row in ear.messages()]
            same(seqs, list(range(seqs[0], seqs[0] + turns)), f"numbers of {ear.handle}")
            same(ear.gaps, [], f"gaps of {ear.handle}")


async def drains(count=30):
    """What came while an agent was away is told first, in order and once, also while more comes."""
    async with stage.rest("alice") as alice:
        away = [(await alice.send_message(to="bob", text=text(f"away {n}"))).message["id"] for n in range(count)]
        async with listening("bob") as bob:
            more = [(await alice.send_message(to="bob", text=text(f"more {n}"))).message["id"] for n in range(5)]
            await bob.until("has everything", lambda: len(bob.messages()) >= count + 5)
            same([row["id"] for row in bob.messages()], away + more, "backlog, then live, in order and once")
            await settled(bob)
            same(bob.gaps, [], "gaps")
        async with listening("bob") as bob:
            last = (await alice.send_message(to="bob", text=text("after the drain"))).message["id"]
            await bob.message(last)
            same([row["id"] for row in bob.messages()], [last], "what was acknowledged does not come again")
            await settled(bob)


async def offers_again():
    """What an agent could not cope with is not settled: it comes again with the next connection."""
    async with stage.rest("alice") as alice:
        async with listening("bob") as bob:
            bob.unwelcome.add(text("unwelcome"))
            sent = (await alice.send_message(to="bob", text=text("unwelcome"))).message["id"]
            other = (await alice.send_message(to="bob", text=text("welcome"))).message["id"]
            await bob.message(other)
            same(await bob.client.sync(), [], "what is on its way over a socket is not in sync")
        async with stage.rest("bob") as client:

            async def back():
                return [row["id"] for row in await client.sync()] == [sent]

            await eventually("it is offered again once the socket is gone", back)
        async with listening("bob") as bob:
            await bob.message(sent)
            same([row["id"] for row in bob.messages()], [sent], "what comes again")
            await settled(bob)


async def repairs_gaps():
    """A frame that is lost on its way to the agent: the library sees the hole and fetches what is missing."""
    lost = []

    class Lossy:
        """A connection that loses the first frame with a word in it."""

        def __init__(self, socket):
            self.socket = socket

        def __getattr__(self, name):
            return getattr(self.socket, name)

        async def __aiter__(self):
            async for frame in self.socket:
                if "to be lost" in frame and not lost:
                    lost.append(json.loads(frame)["payload"]["id"])
                else:
                    yield frame

    async def lossy(url):
        return Lossy(await connect(url))

    async with listening("alice") as alice, listening("bob", websocket_connect=lossy) as bob:
        ids = [(await send(alice, "bob", words))["id"] for words in ("one", "two, to be lost", "three", "four")]
        await bob.until("has all four", lambda: len(bob.messages("alice")) == 4)
        same([row["id"] for row in bob.messages()], ids, "order after a repair")
        same(lost, [ids[1]], "what was lost")
        same([(gap.recovered, gap.reason) for gap in bob.gaps], [(True, "gap_filled")], "gaps")
    # It was lost before it was acknowledged, so it is offered again; the library would know it.
    async with stage.rest("bob") as client:

        async def back():
            return [row["id"] for row in await client.sync()] == [ids[1]]

        await eventually("what was lost is offered again", back)
        await client.sync_ack(last_sync_delivery_id(await client.sync()))


async def tells_reads():
    async with listening("alice") as alice, listening("bob") as bob:
        sent = [await send(alice, "bob", f"to be read {n}") for n in range(3)]
        got = await bob.message(sent[1]["id"])
        payload = {"conversation_id": got.conversation_id, "through_seq": got.seq}
        await bob.rt.send({"type": "message.read_ack", "payload": payload})
        read = await alice.event("message.read", lambda it: it["message_id"] == sent[1]["id"])
        same((read["read_by"], read["reader"], read["read_at"]), ("bob", "bob", read["at"]), "who has read, and when")
        same(read["conversation_id"], sent[1]["conversation_id"], "where it was read, as alice calls it")
        same(read["through_seq"], sent[1]["seq"], "how far it was read, as alice counts")
        await bob.client.mark_as_read(sent[2]["id"])
        await alice.event("message.read", lambda it: it["message_id"] == sent[2]["id"])
        rows = await alice.client.get_messages(sent[0]["conversation_id"], after_seq=sent[0]["seq"] - 1)
        same([row["status"] for row in rows], ["read"] * 3, "status at the author")


async def tells_who_types():
    async with listening("alice") as alice, listening("bob") as bob:
        sent = await send(alice, "bob", "what do you think?")
        got = await bob.message(sent["id"])
        for event in ("typing.start", "typing.stop"):
            await bob.rt.send({"type": event, "payload": {"conversation_id": got.conversation_id}})
            told = await alice.event(event, lambda it: True)
            same((told["sender"], told["conversation_id"]), ("bob", sent["conversation_id"]), event)
        same([name for name, _ in bob.heard if name.startswith("typing")], [], "the echo of one's own typing")


async def tells_who_is_busy():
    async with listening("alice") as alice, listening("bob") as bob:
        # What an agent says of itself goes to its contacts; what a contact says is told.
        await alice.client.add_contact("bob")
        await bob.client.add_contact("alice")
        payload = {"status": "busy", "custom_message": text("counting crates")}
        await bob.rt.send({"type": "presence.update", "payload": payload})
        told = await alice.event("presence.update", lambda it: it["status"] == "busy")
        same((told["handle"], told["custom_message"]), ("bob", payload["custom_message"]), "a contact that is busy")
        same((await alice.client.get_presence("bob"))["status"], "busy", "get_presence")
        await bob.client.update_presence({"status": "online"})
        await alice.event("presence.update", lambda it: (it["handle"], it["status"]) == ("bob", "online"))


async def tells_of_groups():
    async with listening("alice") as alice, listening("bob") as bob, listening("carol") as carol:
        group = (await alice.client.create_group({"name": text("live"), "member_handles": ["bob"]}))["group"]["id"]
        told = await bob.event("group.invite.received", lambda it: it["group_id"] == group)
        invite = GroupInvitation.model_validate(told)
        same((invite.inviter_handle, invite.group_name), ("alice", text("live")), "an invite, told live")
        await bob.client.accept_group_invite(invite.id)
        await alice.until(
            "is told that bob joined",
            lambda: any(row["type"] == "system" and row["conversation_id"] == group for row in alice.messages()),
        )
        for one, other in ((alice, bob), (bob, alice)):
            sent = await send(one, group, "in the group")
            got = await other.message(sent["id"])
            same((got.conversation_id, got.context.conversation.type), (group, "group"), "a live message in a group")
        await alice.client.delete_group(group)
        ended = await bob.event("group.deleted", lambda it: it["group_id"] == group)
        same(ended["deleted_by_handle"], "alice", "who ended it")
        await settled(bob)
        same(carol.messages(), [], "what others hear of it")
        same((alice.gaps, bob.gaps), ([], []), "gaps")


async def survives_restarts():
    """The proxy goes and comes back on the same address: the library finds it, and nothing is lost or told twice."""
    async with listening("alice") as alice, listening("bob") as bob:
        ids = [(await send(alice, "bob", "before"))["id"]]
        await bob.message(ids[0])
        await settled(bob)
        await ask("stop bob")
        await bob.until("is closed", lambda: bob.closed)
        same([info["code"] for info in bob.closed], [1001], "how a stopping proxy closes")
        ids += [(await send(alice, "bob", f"meanwhile {n}"))["id"] for n in range(3)]
        await ask("start bob")
        await bob.until("connects again", lambda: bob.connected == 2)
        ids.append((await send(alice, "bob", "afterwards"))["id"])
        await bob.message(ids[-1])
        same([row["id"] for row in bob.messages()], ids, "over a restart, in order and once")

        await ask("kill bob")
        ids.append((await send(alice, "bob", "after a crash"))["id"])
        await ask("start bob")
        await bob.message(ids[-1])
        same([row["id"] for row in bob.messages()], ids, "over a crash, in order and once")
        await settled(bob)


async def refuses_strangers():
    """1008 is final for the library: it does not try again for ever."""
    async with stage.rest("alice") as client:
        ear = Ear("alice", client, api_key="ac_live_not_a_token_of_this_proxy")
        await ear.rt.connect()
        await ear.until("is closed", lambda: ear.closed)
        same(ear.closed[0]["code"], 1008, "the code for a wrong token")
        await ear.until("gives up", lambda: any("auth-terminal" in str(error) for error in ear.errors))
        await ear.rt.disconnect()


async def knows_other_habits():
    """First-party integrations: a token in the header and no hello, a base that ends in a slash, long enough tokens."""
    settings = AGENTS["bob"]
    holds(len(settings["token"]) >= 20, "tokens shorter than this are ignored by some", len(settings["token"]))
    headers = {"Authorization": f"Bearer {settings['token']}", "x-agentchat-capabilities": "ack"}
    async with stage.rest("alice") as alice:
        for path in ("/v1/ws", "//v1/ws"):
            async with connect(settings["realtime_url"] + path, additional_headers=headers) as socket:
                hello = json.loads(await asyncio.wait_for(socket.recv(), 4))
                same((hello["type"], hello["capabilities"]), ("hello.ok", ["ack"]), f"unasked, on {path}")
                sent = (await alice.send_message(to="bob", text=text("to a daemon"))).message
                frame = json.loads(await asyncio.wait_for(socket.recv(), 10 * SLOW))
                same((frame["type"], frame["payload"]["id"]), ("message.new", sent["id"]), "its message")
                await socket.send(json.dumps({"type": "ack", "message_id": sent["id"]}))
                async with stage.rest("bob") as bob:

                    async def empty():
                        return await bob.sync() == []

                    await eventually("it is settled", empty)
        # The library too joins its path to a base that ends in a slash.
        async with listening("bob", base_url=settings["realtime_url"] + "/") as bob:
            await bob.message((await alice.send_message(to="bob", text=text("over a slash"))).message["id"])


async def main():
    for part in (
        speaks,
        takes_turns,
        drains,
        offers_again,
        repairs_gaps,
        tells_reads,
        tells_who_types,
        tells_who_is_busy,
        tells_of_groups,
        survives_restarts,
        refuses_strangers,
        knows_other_habits,
    ):
        stage.say(f"-- {part.__name__}")
        await part()


asyncio.run(main())
