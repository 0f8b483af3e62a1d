"""Commands on stdin, one JSON object a line; each is answered by one line on stdout."""
import asyncio
import json
import os
import sys

from lab.signing import Signer

LARGEST_COMMAND = 1 << 20


def say(value):
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def set_link(proxy, values):
    unknown = set(values) - {"rtt_ms", "bits_per_second"}
    if unknown:
        raise ValueError("not a property of the link: %s" % sorted(unknown))
    rtt = values.get("rtt_ms", (proxy.up.delay + proxy.down.delay) * 1000)
    old = proxy.up.rate and proxy.up.rate * 8
    bits = values.get("bits_per_second", old)
    for link in (proxy.up, proxy.down):
        link.configure(rtt / 2000, bits / 8 if bits else None)


def sign(proxy, keys):
    proxy.signer = Signer(keys["access_key"], keys["secret_key"])


def blackhole(proxy, dead):
    (proxy.passing.clear if dead else proxy.passing.set)()


COMMANDS = {
    "set": lambda proxy, value: set_link(proxy, value),
    "rule": lambda proxy, value: {"rule": proxy.rules.add(value)},
    "clear": lambda proxy, _: proxy.rules.clear(),
    "refuse": lambda proxy, value: proxy.refuse(value),
    "blackhole": blackhole,
    "sign": sign,
    "counters": lambda proxy, _: {"counters": proxy.counters.values()},
    "reset_counters": lambda proxy, _: proxy.counters.reset(),
    "log": lambda proxy, _: {"log": list(proxy.counters.log)},
}


def answer(proxy, line):
    """Carries out a line; several commands in one go in the order of COMMANDS."""
    try:
        commands = json.loads(line)
        if unknown := set(commands) - set(COMMANDS):
            raise ValueError("no such command: %s" % sorted(unknown))
        result = {"ok": True}
        for name, act in COMMANDS.items():
            if name in commands:
                result.update(act(proxy, commands[name]) or {})
        return result
    except Exception as error:  # whoever sent the line is told, whatever it was
        return {"ok": False, "error": "%s: %s" % (type(error).__name__, error)}


async def parent_gone():
    """Returns when whoever started us has died, in case somebody else holds the other end of stdin."""
    parent = os.getppid()
    while os.getppid() == parent:
        await asyncio.sleep(1)


async def read_commands(proxy):
    lines = asyncio.StreamReader(limit=LARGEST_COMMAND)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        say(answer(proxy, line))


async def serve_commands(proxy):
    say({"port": proxy.port})
    watching = [asyncio.create_task(parent_gone()), asyncio.create_task(read_commands(proxy))]
    await asyncio.wait(watching, return_when=asyncio.FIRST_COMPLETED)
    # os._exit: open connections end as the kernel ends them, and nothing can hold the process up.
    os._exit(0)
