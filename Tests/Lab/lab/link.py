"""The simulated line between the client and the proxy: a delay and a rate for each direction.

A `Link` is one direction and is shared by all connections, so that together they have its rate. A `Pipe` is what one
connection has under way in one direction: bytes with the time at which they arrive. Nothing sleeps for each piece: the
line is reserved for a piece when it is sent, and the other end takes it when its time has come, so a late wake-up
costs no throughput.
"""
import asyncio
import collections
import time

MEBIBYTE = 1 << 20
LARGEST_PIECE = 256 << 10
# How far ahead the line may be reserved, in seconds. It has to outlast a late wake-up of this process on a busy
# machine, or the line idles and the rate is missed; it is also what a full line adds to the latency.
BACKLOG = 0.03
# A wake-up this early, in seconds, is on time: the event loop cannot sleep less than a millisecond.
EARLY = 0.0005

END = object()  # the sender closed its side
RESET = object()  # the sender reset the connection

now = time.monotonic


class Link:
    """One direction of the line: `delay` in seconds, `rate` in bytes a second or None for no limit."""

    def __init__(self):
        self.delay = 0.0
        self.rate = None
        self.free_at = 0.0
        self.turn = asyncio.Lock()  # gives the connections the line in the order in which they asked

    def configure(self, delay, rate):
        self.delay, self.rate = delay, rate
        self.free_at = min(self.free_at, now())

    @property
    def piece(self):
        """How many bytes travel together: a millisecond's worth, for one piece arrives as a whole."""
        return LARGEST_PIECE if self.rate is None else max(2048, min(LARGEST_PIECE, int(self.rate / 1000)))

    @property
    def window(self):
        """How many bytes one connection may have under way: enough to fill the line alone, and a little more."""
        if self.rate is None:
            return 2 * MEBIBYTE if self.delay == 0 else 8 * MEBIBYTE
        return int(self.rate * (self.delay + BACKLOG)) + MEBIBYTE

    async def reserve(self, size):
        """Waits for a place on the line; returns when the last of `size` bytes arrives."""
        asked = now()
        if self.rate is None:
            return asked + self.delay
        async with self.turn:
            while self.rate is not None and (wait := self.free_at - now() - BACKLOG) > 0:
                await asyncio.sleep(wait)
            if self.rate is None:
                return now() + self.delay
            # From when the bytes were there, not from now: a line does not idle because this process woke up late.
            self.free_at = max(self.free_at, asked) + size / self.rate
            return self.free_at + self.delay


class Pipe:
    """What one connection has under way in one direction, in order."""

    def __init__(self, link):
        self.link = link
        self.queue = collections.deque()
        self.size = 0
        self.filled = asyncio.Event()
        self.taken = asyncio.Event()
        self.ending = asyncio.Event()

    async def put(self, data):
        """Sends `data`; waits while this connection has its full window under way."""
        piece = self.link.piece
        if len(data) <= piece:
            await self._put_piece(data)
            return
        view = memoryview(data)
        for start in range(0, len(view), piece):
            await self._put_piece(view[start : start + piece])

    async def _put_piece(self, data):
        while self.size >= self.link.window:
            await self._wait_for_taker()
        self._append(await self.link.reserve(len(data)), data)
        self.size += len(data)

    def end(self, marker):
        """Sends END or RESET behind all that was put."""
        self._append(now() + self.link.delay, marker)
        self.ending.set()

    def _append(self, due, item):
        # A link that was made shorter in between must not reorder the bytes of one connection.
        self.queue.append((max(due, self.queue[-1][0]) if self.queue else due, item))
        self.filled.set()

    async def take(self):
        """The next piece, or END or RESET, once it has arrived. A marker stays for the next call."""
        while not self.queue:
            self.filled.clear()
            await self.filled.wait()
        due, item = self.queue[0]
        if (wait := due - now()) > EARLY:
            await asyncio.sleep(wait)
        if item is not END and item is not RESET:
            self.queue.popleft()
            self.size -= len(item)
            self.taken.set()
        return item

    async def wait_until_ended(self):
        """Returns when the end has arrived and all before it was taken."""
        await self.ending.wait()
        while len(self.queue) > 1:
            await self._wait_for_taker()
        await self.take()

    async def _wait_for_taker(self):
        self.taken.clear()
        await self.taken.wait()
