#!/usr/bin/env python3
"""Flips bits of an archive, one batch after another, and asks holdfast what it makes of them.

usage: flip-bits.py HOLDFAST CONFIG ARCHIVE IMAGE MOUNTPOINT [COUNT]

Every batch flips one bit in each of a hundred different chunks, at random places: at most one of them before the
payload (header, nonce) and one behind the last frame. `holdfast verify --raw` must name each one. Then a fresh
mount is read wherever a flipped bit may matter: an error counts as detected, and what is read without one must be
the image's bytes. The bits are flipped back, and the next batch begins. Prints one line of JSON.
"""
import json
import os
import random
import subprocess
import sys

CHUNK = 65536 + 16
BATCH = 100


def run(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=300)


def flip(archive, bits):
    with open(archive, "r+b") as file:
        for bit in bits:
            file.seek(bit // 8)
            byte = file.read(1)[0]
            file.seek(bit // 8)
            file.write(bytes([byte ^ 1 << bit % 8]))


def choose(size, header, tail, generator):
    """A hundred bits in different chunks."""
    bits, places = [], set()
    while len(bits) < BATCH:
        # One in fifty where hardly any chance would go: the header, and what is behind the frames.
        kind = generator.randrange(100)
        if kind == 0:
            offset = generator.randrange(header)
        elif kind == 1:
            offset = generator.randrange(tail, size)
        else:
            offset = generator.randrange(size)
        place = -1 if offset < header else (offset - header) // CHUNK
        if place in places:
            continue
        places.add(place)
        bits.append(offset * 8 + generator.randrange(8))
    return bits


def main():
    holdfast, config, archive, image, mountpoint = sys.argv[1:6]
    count = int(sys.argv[6]) if len(sys.argv) > 6 else 10_000
    seed = int(os.environ.get("HOLDFAST_SEED", random.SystemRandom().randrange(1 << 32)))
    generator = random.Random(seed)
    size = os.path.getsize(archive)
    with open(archive, "rb") as file:
        head = file.read(4096)
    header = head.index(b"\n", head.index(b"\n--- ") + 1) + 1 + 16
    # The last chunk: the end of the last frame, and the seek table, which is small here.
    tail = size - (size - header) % CHUNK
    name = "bench/flips/latest"
    with open(image, "rb") as file:
        content = file.read()
    result = {"seed": seed, "archive_bytes": size, "flips": 0, "named_by_verify": 0, "archive_hash_refused": 0,
              "read_error": 0, "read_right": 0, "read_wrong": 0}
    batches = 0
    while result["flips"] < count:
        bits = choose(size, header, tail, generator)
        flip(archive, bits)
        try:
            found = json.loads(run(holdfast, "verify", name, "--raw", "--json", "--config", config).stdout)
            ranges = [(f["archive_offset"], f["archive_offset"] + f["archive_size"], f["raw_offset"], f["raw_size"])
                      for f in found["findings"] if "archive_offset" in f]
            if run(holdfast, "verify", name, "--archive", "--config", config).returncode == 5:
                result["archive_hash_refused"] += 1
            if run(holdfast, "mount", config, mountpoint).returncode:
                sys.exit("the mount failed")
            try:
                disk = os.open(f"{mountpoint}/local/bench/flips/latest/disk.raw", os.O_RDONLY)
                try:
                    for bit in bits:
                        hits = [r for r in ranges if r[0] <= bit // 8 < r[1]]
                        result["flips"] += 1
                        result["named_by_verify"] += bool(hits)
                        outcome = "read_right"
                        for start, length in {(r[2], r[3]) for r in hits if r[3]}:
                            try:
                                data = os.pread(disk, length, start)
                                if data != content[start:start + length]:
                                    outcome = "read_wrong"
                            except OSError:
                                if outcome != "read_wrong":
                                    outcome = "read_error"
                        result[outcome] += 1
                finally:
                    os.close(disk)
            finally:
                run("umount", mountpoint)
        finally:
            flip(archive, bits)
        batches += 1
        print(f"  {result['flips']} of {count}", file=sys.stderr)
    result["batches"] = batches
    if run(holdfast, "verify", name, "--raw", "--config", config).returncode:
        sys.exit("the archive is not what it was")
    print(json.dumps(result))


main()
