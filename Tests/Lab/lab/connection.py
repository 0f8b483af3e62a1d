"""One connection of the client with its counterpart to the server.

    client <- link -> pipes <- exchange, with its fault -> server

Three tasks: one reads the client's bytes into the pipe up, one sends what has arrived at the end of the pipe down,
and one serves the requests in between. When the client has gone and all it sent was taken, the third is ended.
"""
import asyncio
import fcntl
import socket
import struct
import termios

from lab.exchange import CloseClient, Exchange, Request, ResetClient
from lab.http1 import Reader
from lab.link import END, LARGEST_PIECE, RESET, Pipe

# How long a connection that was closed by us is read to its end, so that what the client still sends does not turn the
# answer it has not read yet into a reset.
LINGER = 2.0


def reset_on_close(descriptor):
    descriptor.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Connection:
    def __init__(self, proxy, client):
        self.proxy = proxy
        self.client = client
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.up = Pipe(proxy.up)
        self.down = Pipe(proxy.down)
        self.reader = Reader(self._receive_from_client)
        self.server = None
        self.answers = Reader(self._receive_from_server)
        self.uploaded = asyncio.Event()  # no body is on its way to the server
        self.uploaded.set()

    async def run(self):
        reading, sending, serving, leaving = tasks = [
            asyncio.create_task(step()) for step in (self._read, self._send, self._serve, self._leave)
        ]
        try:
            await asyncio.wait({sending, serving, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done() and sending.result() is END:
                await asyncio.wait({serving, leaving}, timeout=LINGER, return_when=asyncio.FIRST_COMPLETED)
            await ended(serving)
            # What is still under way arrives, unless there is nobody to take it.
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await ended(*tasks)
            self.client.close()
            self.drop_server()

    def abort(self):
        """The connection is to end with a reset, whatever is under way."""
        reset_on_close(self.client)

    # --- the client's side

    async def _read(self):
        loop, gate = asyncio.get_running_loop(), self.proxy.passing
        try:
            # The kernel has accepted at once; over this line the handshake takes a round trip before the first byte.
            await asyncio.sleep(self.up.link.delay + self.down.link.delay)
            while True:
                await gate.wait()
                data = await loop.sock_recv(self.client, LARGEST_PIECE)
                await gate.wait()
                if not data:
                    break
                await self.up.put(data)
        except OSError:
            pass
        self.up.end(END)

    async def _send(self):
        loop, gate = asyncio.get_running_loop(), self.proxy.passing
        try:
            while True:
                item = await self.down.take()
                await gate.wait()
                if item is END:
                    self.client.shutdown(socket.SHUT_WR)
                    return END
                if item is RESET:
                    await self._wait_until_sent()
                    reset_on_close(self.client)
                    return RESET
                await loop.sock_sendall(self.client, item)
        except OSError:
            return RESET

    async def _wait_until_sent(self):
        """A reset throws away what the kernel has not sent yet, and a fault promises how much arrives before it."""
        for _ in range(500):
            if not struct.unpack("i", fcntl.ioctl(self.client, termios.TIOCOUTQ, b"\0" * 4))[0]:
                break
            await asyncio.sleep(0.002)

    async def _leave(self):
        await self.up.wait_until_ended()
        await self.uploaded.wait()

    async def _receive_from_client(self, _):
        item = await self.up.take()
        return b"" if item is END else item

    # --- the server's side

    async def _receive_from_server(self, limit):
        return await asyncio.get_running_loop().sock_recv(self.server, limit)

    async def send_to_server(self, data):
        await asyncio.get_running_loop().sock_sendall(self.server, data)

    async def connect(self):
        """A connection to the server; one that it has closed while it was idle is replaced."""
        if self.server is not None:
            try:
                if self.server.recv(1, socket.MSG_PEEK):
                    self.drop_server()  # bytes that nobody asked for
            except BlockingIOError:
                return
            except OSError:
                pass
            self.drop_server()
        self.server = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self.server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.answers.held = b""
        await asyncio.get_running_loop().sock_connect(self.server, self.proxy.target)

    def drop_server(self):
        if self.server is not None:
            self.server.close()
            self.server = None

    # --- requests

    async def _serve(self):
        try:
            while raw := await self.reader.through(b"\r\n\r\n"):
                if not await self._exchange(Request(raw)):
                    break
            await self._close()
        except CloseClient:
            await self._close()
        except (ResetClient, OSError, ValueError):
            # A server that is not there, or breaks off, is passed on as a reset.
            self.down.end(RESET)

    async def _close(self):
        self.down.end(END)
        while await self.reader.some(LARGEST_PIECE):
            pass

    async def _exchange(self, request):
        proxy = self.proxy
        rule = proxy.rules.choose(request)
        exchange = Exchange(self, request, rule and rule.random)
        proxy.counters.begin(request, rule)
        try:
            keep = await (rule.action.run(exchange) if rule else exchange.plain())
        finally:
            all_sent = await exchange.stop_sending()
            proxy.counters.end(request)
        # A server that refused a body before it was all there: nothing can follow on this connection.
        return keep and all_sent


async def ended(*tasks):
    """Cancels the tasks and waits for their end. What they failed with has been dealt with."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
