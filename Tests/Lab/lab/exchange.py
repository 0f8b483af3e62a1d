"""One request and its answer, in steps that a fault can take, leave out or change.

Without a fault the steps are: send the request to the server, pass on its interim answers, pass on its final head,
pass on its body. The body of the request goes up while answers come down, for a server may say 100 Continue or refuse
early.
"""
import asyncio

from lab.http1 import Head, answer_body, request_body
from lab.operations import kind, list_identity

LARGEST_LISTING = 4 << 20


class ResetClient(Exception):
    """The client's connection is to be reset once what was sent before has arrived."""


class CloseClient(Exception):
    """The client's connection is to be closed in an orderly way."""


class Request:
    """The head of a request and what it means in S3."""

    def __init__(self, raw):
        self.raw = raw
        self.head = Head(raw)
        self.method, self.target, _ = self.head.start.split(" ", 2)
        self.kind = kind(self.method, self.target)

    @property
    def expects_continue(self):
        return "100-continue" in (self.head.get("expect") or "").lower()


class Exchange:
    def __init__(self, connection, request, random):
        self.connection = connection
        self.counters = connection.proxy.counters
        self.listings = connection.proxy.listings
        self.request = request
        self.random = random
        self.sending = None
        self.body = request_body(request.head, connection.reader)

    # --- the request

    async def send(self, head=None, flip=None):
        """Sends the request, with another head or one bit of its body flipped. Does not wait for the body."""
        await self.connection.connect()
        await self.connection.send_to_server(head or self.request.raw)
        if self.body is not None:
            self.connection.uploaded.clear()
            self.sending = asyncio.create_task(self._send_body(flip))

    async def _send_body(self, flip):
        offset = 0
        try:
            async for piece, is_payload in self.body:
                if is_payload:
                    self.counters.sent(len(piece))
                    piece = flipped(piece, flip, offset)
                    offset += len(piece)
                await self.connection.send_to_server(piece)
        except OSError:
            pass  # the client has gone, or the server refuses the rest and has perhaps said why
        finally:
            self.connection.uploaded.set()

    async def drain(self):
        """Reads the body of the request and drops it. One that waits for 100 Continue is not asked for."""
        if self.body is not None and self.sending is None and not self.request.expects_continue:
            async for piece, is_payload in self.body:
                if is_payload:
                    self.counters.sent(len(piece))
            self.body = None

    # --- the answer

    async def final_head(self):
        """Passes on the interim answers and returns the head of the final one."""
        while True:
            raw = await self.connection.answers.through(b"\r\n\r\n")
            if not raw:
                raise CloseClient("the server closed without an answer")
            head = Head(raw)
            if head.status >= 200:
                return head
            await self.connection.down.put(raw)

    def answer_body(self, head):
        return answer_body(head, self.request.method, self.connection.answers)

    async def pass_on(self, head, flip=None, after=None):
        """Passes on the final answer, whole or `after` bytes of its body; with one bit flipped at the offset `flip`.

        Returns whether the connection can be used again. What `after` cuts off is dropped with the server's
        connection.
        """
        await self.put_head(head)
        body = self.answer_body(head)
        keep = not head.closes and (head.get("content-length") is not None or head.is_chunked or body is None)
        if body is None:
            return keep
        listing = [] if self.request.kind == "list" and head.status == 200 and flip is None else None
        offset = 0
        async for piece, is_payload in body:
            if is_payload:
                if after is not None and offset + len(piece) >= after:
                    await self.put_body(piece[: after - offset])
                    await self.stop_sending()
                    self.connection.drop_server()
                    return False
                piece = flipped(piece, flip, offset)
                offset += len(piece)
                if listing is not None and offset <= LARGEST_LISTING:
                    listing.append(piece)
                await self.put_body(piece)
            else:
                await self.connection.down.put(piece)
        if listing is not None and offset <= LARGEST_LISTING:
            self.listings.remember(self.request.target, b"".join(listing))
        return keep

    async def whole_body(self, head):
        """The body of a small answer, for a fault that changes it."""
        body = self.answer_body(head)
        return b"" if body is None else b"".join([piece async for piece, is_payload in body if is_payload])

    async def discard(self):
        """Reads the server's whole answer and drops it: the request was carried out and nobody learns of it."""
        head = await self.final_head()
        if (body := self.answer_body(head)) is not None:
            async for _ in body:
                pass
        if self.sending is not None:
            await self.sending
        return head

    async def put_head(self, head):
        self.counters.answer(head.status)
        await self.connection.down.put(head.encode())

    async def put_body(self, piece):
        self.counters.answered(len(piece))
        await self.connection.down.put(piece)

    async def respond(self, status, reason, fields, body):
        """An answer of the proxy's own. Returns whether the connection can be used again."""
        # A client that still waits for 100 Continue may or may not send its body now: only a new connection is clear.
        unread = self.body is not None and self.sending is None and self.request.expects_continue
        head = Head(b"HTTP/1.1 %d %s\r\n\r\n" % (status, reason.encode()))
        head.fields = fields + [("Content-Length", str(len(body)))] + ([("Connection", "close")] if unread else [])
        await self.put_head(head)
        if self.request.method != "HEAD" and body:
            await self.put_body(body)
        return not unread

    async def plain(self):
        """The exchange without a fault."""
        await self.send()
        return await self.pass_on(await self.final_head())

    async def stop_sending(self):
        """Ends what is left of the request's body; whether all of it had been sent."""
        if self.sending is None:
            return True
        was_done = self.sending.done()
        self.sending.cancel()
        await asyncio.gather(self.sending, return_exceptions=True)
        self.connection.uploaded.set()
        return was_done


class Listings:
    """The last answer to each listing, for stale ones; those asked for least recently are forgotten."""

    LIMIT = 64

    def __init__(self):
        self.bodies = {}

    def remember(self, target, body):
        identity = list_identity(target)
        self.bodies.pop(identity, None)
        self.bodies[identity] = body
        if len(self.bodies) > self.LIMIT:
            del self.bodies[next(iter(self.bodies))]

    def last(self, target):
        return self.bodies.get(list_identity(target))


def flipped(piece, flip, offset):
    """`piece`, which begins at `offset` of its body, with the lowest bit flipped of the byte at the offset `flip`."""
    if flip is None or not offset <= flip < offset + len(piece):
        return piece
    changed = bytearray(piece)
    changed[flip - offset] ^= 1
    return bytes(changed)
