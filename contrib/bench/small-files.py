"""Makes what a small server is full of: many small files in folders, the same ones at every call.

usage: small-files.py FOLDER COUNT MIB      COUNT files, about MIB MiB together, a hundred in each folder
"""

import os
import random
import sys

PER_FOLDER = 100
LINE = b"2026-11-23T02:15:58Z web-%07d GET /assets/%08x/index.html 200 %d\n"


def content(generator, size):
    """Half of it cannot be compressed, the rest is a log."""
    noise = generator.randbytes(size // 2)
    lines = bytearray()
    while len(lines) < size - len(noise):
        lines += LINE % (generator.randrange(10**7), generator.getrandbits(32), generator.randrange(10**5))
    return noise + lines[: size - len(noise)]


def main():
    root, count, mebibytes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    generator = random.Random(1)
    mean = (mebibytes << 20) // count
    for number in range(count):
        folder = os.path.join(root, f"{number // PER_FOLDER:04d}")
        if number % PER_FOLDER == 0:
            os.makedirs(folder)
        with open(os.path.join(folder, f"{number:06d}.dat"), "wb") as file:
            file.write(content(generator, generator.randrange(mean // 4, mean * 7 // 4)))


main()
