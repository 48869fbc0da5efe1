"""A store that speaks S3, in memory: moto. Serves until it is killed."""

import threading

from moto.server import ThreadedMotoServer

server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
host, port = server.get_host_and_port()
print(f"listening on http://{host}:{port}", flush=True)
threading.Event().wait()
