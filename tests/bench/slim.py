"""Messages between two agents by way of an AGNTCY SLIM node, end to end encrypted by MLS. Each is a process.

slim.py node HOST:PORT                    until it is killed
slim.py agents HOST:PORT MESSAGES RATE    prints nanoseconds from the call to send until the call to receive returns, by message
"""

import asyncio
import sys
import time
from datetime import timedelta

import slim_bindings as slim

SECRET = "shared by both agents of the bench"
BYTES = 500
PATIENCE = timedelta(seconds=30)


async def node(address):
    await slim.get_global_service().run_server_async(slim.new_insecure_server_config(address))
    await asyncio.Event().wait()


async def agents(address, messages, rate):
    receiver = await asyncio.create_subprocess_exec(
        sys.executable, sys.argv[0], "receiver", address, messages, stdout=asyncio.subprocess.PIPE
    )
    await receiver.stdout.readline()
    sending = send(address, int(messages), int(rate))
    await asyncio.wait_for(sending, PATIENCE.seconds + int(messages) / int(rate))
    times, _ = await receiver.communicate()
    print(times.decode(), end="")
    return receiver.returncode


async def send(address, messages, rate):
    app, connection = await agent(address, "sender")
    remote = slim.Name.from_string("bench/bench/receiver")
    await app.set_route_async(remote, connection)
    config = slim.SessionConfig(
        session_type=slim.SessionType.POINT_TO_POINT,
        max_retries=5,
        interval=timedelta(seconds=5),
        metadata={},
        mls_settings=slim.MlsSettings(header_integrity_validation_percent=100, max_seen_control_message_ids_size=None),
    )
    made = await app.create_session_async(config, remote)
    await made.completion.wait_async()
    begin = time.monotonic_ns()
    sending = []
    for number in range(messages):
        due = begin + number * 10**9 // rate
        await asyncio.sleep(max(0, due - time.monotonic_ns()) / 1e9)
        text = time.monotonic_ns().to_bytes(8, "big").ljust(BYTES, b"x")
        # Later ones do not wait for it.
        sending.append(asyncio.create_task(made.session.publish_async(text, None, None)))
    for completion in await asyncio.gather(*sending):
        await completion.wait_async()


async def receiver(address, messages):
    app, _ = await agent(address, "receiver")
    print("ready", flush=True)
    session = await app.listen_for_session_async(PATIENCE)
    times = []
    for _ in range(int(messages)):
        message = await session.get_message_async(PATIENCE)
        times.append(time.monotonic_ns() - int.from_bytes(message.payload[:8], "big"))
    print(*times, sep="\n")


async def agent(address, name):
    """An agent of this name at the node, and its connection."""
    service = slim.get_global_service()
    # By itself it would try again and again.
    connecting = service.connect_async(slim.new_insecure_client_config(f"http://{address}"))
    connection = await asyncio.wait_for(connecting, PATIENCE.seconds)
    name = slim.Name.from_string(f"bench/bench/{name}")
    app = service.create_app_with_secret(name, SECRET)
    await app.subscribe_async(name, connection)
    return app, connection


def main(role, *arguments):
    tracing = slim.new_tracing_config()
    tracing.log_level = "error"
    slim.initialize_with_configs(
        runtime_config=slim.new_runtime_config(), tracing_config=tracing, service_config=[slim.new_service_config()]
    )
    roles = {"node": node, "agents": agents, "receiver": receiver}
    return asyncio.run(roles[role](*arguments))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
