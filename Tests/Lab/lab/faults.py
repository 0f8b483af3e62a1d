"""What can go wrong with one request. A fault is a coroutine over an `Exchange`; its parameters are its keywords.

It returns whether the connection can be used again, or raises ResetClient or CloseClient. Offsets count bytes of the
body from 0; one past the end of the body counts from its start again where a bit is flipped, and means the end where
the body is cut.
"""
import asyncio
import email.utils
import inspect
import re
import time
from xml.sax.saxutils import escape

from lab.exchange import CloseClient, ResetClient

FAULTS = {}
REASONS = {200: "OK", 206: "Partial Content", 301: "Moved Permanently", 400: "Bad Request", 403: "Forbidden",
           404: "Not Found", 409: "Conflict", 412: "Precondition Failed", 429: "Too Many Requests",
           500: "Internal Server Error", 501: "Not Implemented", 503: "Service Unavailable"}  # fmt: skip
CODES = {500: "InternalError", 503: "SlowDown", 404: "NoSuchKey", 403: "AccessDenied", 301: "PermanentRedirect"}
FOREVER = 3600


def fault(name):
    def register(function):
        FAULTS[name] = function
        return function

    return register


class Action:
    """A fault by its name with its parameters, both checked here and not when a request comes."""

    def __init__(self, text):
        parameters = dict(text)
        self.name = parameters.pop("fault", "status" if "status" in parameters else None)
        if self.name not in FAULTS:
            raise ValueError("there is no fault %r; there are: %s" % (self.name, " ".join(sorted(FAULTS))))
        self.function = FAULTS[self.name]
        known = list(inspect.signature(self.function).parameters)[1:]
        if unknown := sorted(set(parameters) - set(known)):
            raise ValueError("%s takes %s, not %s" % (self.name, known, unknown))
        self.parameters = parameters

    async def run(self, exchange):
        return await self.function(exchange, **self.parameters)


def error_document(exchange, code, message):
    resource = escape(exchange.request.target.partition("?")[0])
    return (
        "<Error><Code>%s</Code><Message>%s</Message><Resource>%s</Resource><RequestId>LAB</RequestId></Error>"
        % (escape(code), escape(message), resource)
    ).encode()


XML = b'<?xml version="1.0" encoding="UTF-8"?>\n'


# --- answers of the proxy's own


@fault("status")
async def status(x, status=503, code=None, message="made by the lab", retry_after=None, region=None,
                 date_offset_hours=0, headers=None, forward=False):  # fmt: skip
    """An S3 error. `forward`: the server has carried the request out all the same."""
    if forward:
        await x.send()
        await x.discard()
    else:
        await x.drain()
    date = email.utils.formatdate(time.time() + 3600 * date_offset_hours, usegmt=True)
    fields = [("Date", date), ("Content-Type", "application/xml"), ("x-amz-request-id", "LAB")]
    if retry_after is not None:
        fields.append(("Retry-After", str(retry_after)))
    if region is not None:
        fields.append(("x-amz-bucket-region", region))
    fields += list((headers or {}).items())
    document = XML + error_document(x, code or CODES.get(status, "InternalError"), message)
    body = b"" if x.request.method == "HEAD" else document
    return await x.respond(status, REASONS.get(status, "Error"), fields, body)


@fault("error-in-200")
async def error_in_200(x, code="InternalError", message="made by the lab", forward=False, spaces=0, interval=0.1):
    """200 with an error as its body, as CompleteMultipartUpload may answer. `spaces` come first, one each interval."""
    if forward:
        await x.send()
        await x.discard()
    else:
        await x.drain()
    error = error_document(x, code, message)
    if spaces == 0:
        return await x.respond(200, "OK", [("Content-Type", "application/xml")], XML + error)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nTransfer-Encoding: chunked\r\n\r\n"
    x.counters.answer(200)
    await x.connection.down.put(head)
    for piece in [XML] + [b" "] * spaces + [error, b""]:
        await x.connection.down.put(b"%x\r\n%s\r\n" % (len(piece), piece))
        if piece == b" ":
            await asyncio.sleep(interval)
    return True


@fault("stale-list")
async def stale_list(x):
    """The previous answer to the same listing; the fresh one is kept for the next time. The first time it is true."""
    old = x.listings.last(x.request.target)
    await x.send()
    head = await x.final_head()
    if old is None or head.status != 200 or x.request.kind != "list":
        return await x.pass_on(head)
    x.listings.remember(x.request.target, await x.whole_body(head))
    return await x.respond(200, "OK", [("Content-Type", "application/xml")], old)


# --- connections that break or stand still


@fault("reset-before")
async def reset_before(x):
    """A reset instead of forwarding: the server never hears of it."""
    await x.drain()
    raise ResetClient


@fault("reset-after")
async def reset_after(x):
    """The server carries the request out and answers; a reset takes the answer's place."""
    await x.send()
    await x.discard()
    raise ResetClient


@fault("reset-body")
async def reset_body(x, after=0):
    """A reset behind `after` bytes of the answer's body."""
    await x.send()
    await x.pass_on(await x.final_head(), after=after)
    raise ResetClient


@fault("stall-request")
async def stall_request(x, seconds=FOREVER):
    """Takes the request, and neither forwards nor answers it; closes after `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            while await x.connection.reader.some(1 << 18):
                pass
    except TimeoutError:
        pass
    raise CloseClient


@fault("stall-body")
async def stall_body(x, after=0, seconds=FOREVER):
    """`after` bytes of the body, nothing for `seconds`, then the rest."""
    await x.send()
    head = await x.final_head()
    stalled = Stall(x, after, seconds)
    return await stalled.pass_on(head)


class Stall:
    """Passes on an answer with one long pause in its body."""

    def __init__(self, exchange, after, seconds):
        self.exchange, self.after, self.seconds = exchange, after, seconds

    async def pass_on(self, head):
        x = self.exchange
        await x.put_head(head)
        body, offset, waits = x.answer_body(head), 0, True
        if body is None:
            return not head.closes
        async for piece, is_payload in body:
            cut = self.after - offset
            if waits and is_payload and cut < len(piece):
                await x.connection.down.put(piece[:cut])
                await asyncio.sleep(self.seconds)
                piece, offset, waits = piece[cut:], offset + cut, False
            offset += len(piece) if is_payload else 0
            await (x.put_body(piece) if is_payload else x.connection.down.put(piece))
        return not head.closes


@fault("short-body")
async def short_body(x, after=0, lie=False):
    """The connection closed behind `after` bytes of the body. `lie`: Content-Length says that this was all."""
    await x.send()
    head = await x.final_head()
    length = int(head.get("content-length") or 0)
    if lie and not head.is_chunked and after < length:
        head.set("Content-Length", str(after))
        await x.pass_on(head, after=after)
        return True
    await x.pass_on(head, after=after)
    raise CloseClient


@fault("slow")
async def slow(x, bytes_per_second=10):
    """The answer, head and body, at a trickle."""
    await x.send()
    head = await x.final_head()
    x.counters.answer(head.status)
    await trickle(x, head.encode(), bytes_per_second)
    body = x.answer_body(head)
    if body is not None:
        async for piece, is_payload in body:
            if is_payload:
                x.counters.answered(len(piece))
            await trickle(x, piece, bytes_per_second)
    return not head.closes


async def trickle(x, data, bytes_per_second):
    step = max(1, int(bytes_per_second / 10))
    for start in range(0, len(data), step):
        await asyncio.sleep(min(step, len(data) - start) / bytes_per_second)
        await x.connection.down.put(data[start : start + step])


# --- answers that are wrong


@fault("flip-bit")
async def flip_bit(x, at=0):
    """One bit of the answer's body is wrong, at the offset `at`."""
    await x.send()
    head = await x.final_head()
    length = int(head.get("content-length") or 0)
    return await x.pass_on(head, flip=at % length if length else at)


@fault("flip-request-bit")
async def flip_request_bit(x, at=0):
    """One bit of the request's body is wrong when it reaches the server."""
    length = int(x.request.head.get("content-length") or 0)
    await x.send(flip=at % length if length else at)
    return await x.pass_on(await x.final_head())


def shifted(text, by):
    """A Range or Content-Range with its first two numbers moved, both by the same."""
    return re.sub(r"(\d+)-(\d+)", lambda m: "%d-%d" % (int(m[1]) + by, int(m[2]) + by), text, count=1)


@fault("wrong-range")
async def wrong_range(x, by=1, where="answer"):
    """The range is not the one asked for. `where`: "answer" moves Content-Range only, "request" moves what the server
    is asked for, and "both" that too, but the answer claims what was asked for, so that only the bytes are wrong."""
    head = x.request.head
    if where == "answer" or head.get("range") is None:
        await x.send()
    else:
        head.set("Range", shifted(head.get("range"), by))
        await x.send(x.connection.proxy.signer.signed_again(x.request))
    answer = await x.final_head()
    claimed = answer.get("content-range")
    if claimed is not None and where != "request":
        answer.set("Content-Range", shifted(claimed, by if where == "answer" else -by))
    return await x.pass_on(answer)


@fault("ignore-range")
async def ignore_range(x):
    """The server answers 200 with the whole object."""
    x.request.head.set("Range", None)
    await x.send(x.connection.proxy.signer.signed_again(x.request))
    return await x.pass_on(await x.final_head())


@fault("duplicate-headers")
async def duplicate_headers(x, headers=None):
    """Fields of the answer come twice: those named, or all that do not frame the message."""
    await x.send()
    head = await x.final_head()
    framing = {"content-length", "transfer-encoding", "connection"}
    chosen = {name.lower() for name in headers or []} or {name.lower() for name, _ in head.fields} - framing
    head.fields = [field for field in head.fields for _ in range(2 if field[0].lower() in chosen else 1)]
    return await x.pass_on(head)


@fault("reorder-headers")
async def reorder_headers(x):
    """The fields of the answer come in another order."""
    await x.send()
    head = await x.final_head()
    x.random.shuffle(head.fields)
    return await x.pass_on(head)


@fault("wrong-etag")
async def wrong_etag(x, etag='"00000000000000000000000000000bad"'):
    """Another ETag, in the head and, where the body is a document that has one, there too."""
    await x.send()
    head = await x.final_head()
    if head.get("etag") is not None:
        head.set("ETag", etag)
    if x.request.kind != "complete-upload" or head.status != 200:
        return await x.pass_on(head)
    body = await x.whole_body(head)
    body = re.sub(rb"(<ETag>).*?(</ETag>)", lambda m: m[1] + etag.encode() + m[2], body)
    fields = [f for f in head.fields if f[0].lower() not in ("content-length", "transfer-encoding", "connection")]
    return await x.respond(200, "OK", fields, body)
