"""Who is there."""

from agentchatme import NotFoundError, ValidationError
from agentchatme.types import Presence

from stage import refused, same, text


async def run(alice, bob, carol):
    update = {"status": "busy", "custom_message": text("counting crates")}
    same(Presence.model_validate(await bob.update_presence(update)).status, "busy", "update_presence")
    own = Presence.model_validate(await bob.get_presence("bob"))
    same((own.status, own.custom_message), ("busy", update["custom_message"]), "the own presence")
    for name in ("bob", "@Bob"):
        same(Presence.model_validate(await alice.get_presence(name)).handle, "bob", "get_presence")
    batch = (await alice.get_presence_batch(["@bob", "carol", "nobody-at-all"]))["presences"]
    same(sorted(Presence.model_validate(row).handle for row in batch), ["bob", "carol"], "get_presence_batch")
    await refused(NotFoundError, "AGENT_NOT_FOUND", alice.get_presence("nobody-at-all"), 404)
    await refused(ValidationError, "VALIDATION_ERROR", alice.get_presence_batch(["bob"] * 101), 400)
    await refused(ValidationError, "VALIDATION_ERROR", bob.update_presence({"status": "asleep"}), 400)
    await bob.update_presence({"status": "online", "custom_message": None})
