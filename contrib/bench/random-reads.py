"""The parts of contrib/bench/slice and contrib/bench/s3 that a shell cannot time.

usage: random-reads.py IMAGE FILE cold [READS]  p50 of reading 4 KiB of FILE, in milliseconds
       random-reads.py IMAGE FILE warm
       random-reads.py IMAGE FILE first         milliseconds from opening FILE to 4 KiB of its data
       random-reads.py IMAGE FILE sample        an eighth of the data of IMAGE into FILE; prints the bytes of all data

Only the data of IMAGE counts: reading a hole costs nothing. Each cold read falls into a MiB that was not
touched before; warm reads go to 64 such places (64 MiB of frames), which were read once, in new order each round.
"""

import mmap
import os
import random
import sys
import time

MEBIBYTE = 1 << 20
BLOCK = 4096
COLD_READS = 400
WARM_PLACES = 64
WARM_ROUNDS = 40


def data_mebibytes(path):
    """The offsets of the MiB blocks of a sparse file that have data, in order."""
    blocks = []
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        offset = 0
        while offset < size:
            try:
                data = os.lseek(file.fileno(), offset, os.SEEK_DATA)
            except OSError:
                break
            hole = os.lseek(file.fileno(), data, os.SEEK_HOLE)
            first = max(data // MEBIBYTE, blocks[-1] // MEBIBYTE + 1 if blocks else 0)
            blocks.extend(range(first * MEBIBYTE, hole, MEBIBYTE))
            offset = hole
    return [block for block in blocks if block + MEBIBYTE <= size]


def timed_reads(descriptor, offsets, expected):
    """Seconds of each read; what was read is compared with the image, outside the timing."""
    buffer = mmap.mmap(-1, BLOCK)
    seconds = []
    for offset in offsets:
        start = time.perf_counter()
        count = os.preadv(descriptor, [buffer], offset)
        seconds.append(time.perf_counter() - start)
        if count != BLOCK or buffer[:] != os.pread(expected, BLOCK, offset):
            sys.exit(f"error: the read at offset {offset} gave other bytes than the image has")
    return seconds


def main():
    image, path, mode = sys.argv[1:4]
    cold_reads = int(sys.argv[4]) if len(sys.argv) > 4 else COLD_READS
    blocks = data_mebibytes(image)
    if mode == "sample":
        with open(image, "rb") as source, open(path, "wb") as sample:
            for block in blocks[::8]:
                source.seek(block)
                sample.write(source.read(MEBIBYTE))
        print(len(blocks) * MEBIBYTE)
        return
    # The seed is fixed so that runs can be compared.
    generator = random.Random(1)
    generator.shuffle(blocks)
    offsets = [block + generator.randrange(MEBIBYTE // BLOCK) * BLOCK for block in blocks]
    if mode == "first":
        start = time.perf_counter()
        first = os.pread(os.open(path, os.O_RDONLY), BLOCK, offsets[0])
        seconds = time.perf_counter() - start
        if first != os.pread(os.open(image, os.O_RDONLY), BLOCK, offsets[0]):
            sys.exit(f"error: the first read, at offset {offsets[0]}, gave other bytes than the image has")
        print(f"{seconds * 1000:.3f}")
        return
    descriptor = os.open(path, os.O_RDONLY)
    expected = os.open(image, os.O_RDONLY)
    if mode == "cold":
        seconds = timed_reads(descriptor, offsets[:cold_reads], expected)
    else:
        places = offsets[-WARM_PLACES:]
        timed_reads(descriptor, places, expected)
        seconds = []
        for _ in range(WARM_ROUNDS):
            generator.shuffle(places)
            seconds += timed_reads(descriptor, places, expected)
    seconds.sort()
    print(f"{seconds[len(seconds) // 2] * 1000:.3f}")


main()
