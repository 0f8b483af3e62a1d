"""The proxy as a whole: its port, its connections, and the state that all connections share."""
import asyncio
import random
import socket

from lab.connection import Connection, ended
from lab.counters import Counters
from lab.exchange import Listings
from lab.link import Link
from lab.rules import Rules
from lab.signing import Signer

# Below the range that the kernel hands out, so that the port is still ours to give back after a refusal.
PORTS = range(20000, 32000)


class Proxy:
    def __init__(self, listen, target, seed):
        self.target = target
        self.up, self.down = Link(), Link()
        self.rules = Rules(seed)
        self.listings = Listings()
        self.counters = Counters()
        self.signer = Signer()
        self.passing = asyncio.Event()  # cleared while the network is dead
        self.passing.set()
        self.connections = {}
        self.listener = bound(listen)
        self.accepting = None
        self.refuse(False)

    @property
    def port(self):
        return self.listener.getsockname()[1]

    def refuse(self, refuses):
        """Stops listening and resets every connection, or listens again on the same port."""
        if refuses == (self.accepting is None):
            return
        if refuses:
            self.accepting.cancel()
            self.accepting = None
            # The port stays bound, so nobody else can take it meanwhile; see tcp_disconnect in Linux.
            self.listener.shutdown(socket.SHUT_RDWR)
            for connection, task in self.connections.items():
                connection.abort()
                task.cancel()
        else:
            self.listener.listen(512)
            self.accepting = asyncio.create_task(self._accept())

    async def _accept(self):
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, _ = await loop.sock_accept(self.listener)
            except OSError:  # no descriptor is left; one that waits gets its turn later
                await asyncio.sleep(0.05)
                continue
            connection = Connection(self, client)
            task = asyncio.create_task(connection.run())
            self.connections[connection] = task
            self.counters.opened()
            task.add_done_callback(lambda _, key=connection: self._closed(key))

    def _closed(self, connection):
        del self.connections[connection]
        self.counters.closed()

    async def stop(self):
        if self.accepting is not None:
            await ended(self.accepting)
        await ended(*self.connections.values())
        self.listener.close()


def bound(address):
    """A socket bound to the address; port 0 takes one that is free."""
    host, wanted = address
    ports = [wanted] if wanted else random.sample(PORTS, 200)
    for port in ports:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(512)  # two may bind with SO_REUSEADDR; only one can listen
            return listener
        except OSError:
            listener.close()
            if port == ports[-1]:
                raise
