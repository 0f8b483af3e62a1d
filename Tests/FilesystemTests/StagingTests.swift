import Filesystem
import Foundation
import StorageTesting
import Testing

@Suite("Staging without a mount", .timeLimit(.minutes(2)))
struct StagingTests {
    /// Noise, with whole frames and odd ranges of zeros.
    private func image(_ byteCount: Int, _ random: inout some RandomNumberGenerator) -> [UInt8] {
        var bytes = (0..<byteCount).map { _ in UInt8.random(in: 0...255, using: &random) }
        for _ in 0..<3 where byteCount > 0 {
            let start = Int.random(in: 0..<byteCount, using: &random)
            let end = min(byteCount, start + Int.random(in: 1...3 * TreeBench.frameByteCount, using: &random))
            for index in start..<end { bytes[index] = 0 }
        }
        return bytes
    }

    @Test(arguments: 0..<12)
    func `an image written in any order within the window comes back, wherever it is read`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let bench = try TreeBench()
        let image = image(Int.random(in: 1...1_500_000, using: &random), &random)
        // Pieces in order, then shuffled within stretches that are shorter than the window.
        var pieces: [Range<Int>] = []
        while let start = pieces.last?.upperBound ?? (image.isEmpty ? nil : 0), start < image.count {
            pieces.append(start..<min(image.count, start + Int.random(in: 1...100_000, using: &random)))
        }
        let handle = try bench.create()
        var next = 0
        while next < pieces.count {
            let stretch = pieces[next..<min(pieces.count, next + 3)]
            for piece in stretch.shuffled(using: &random) {
                try bench.write(handle, image[piece], at: piece.lowerBound)
            }
            next = stretch.endIndex
        }
        try bench.close(handle)
        #expect(try bench.status.contains("state: committed"))
        let path = try bench.latest + "/disk.raw"
        #expect(try bench.read(path) == image)
        for _ in 0..<30 {
            let offset = Int.random(in: 0..<image.count, using: &random)
            let count = Int.random(in: 1...200_000, using: &random)
            let expected = image[offset..<min(image.count, offset + count)]
            #expect(try bench.read(path, at: offset, count: count) == Array(expected), "\(count) bytes at \(offset)")
        }
        #expect(try bench.read("staging/memory/acme/web/disk.raw") == image, "the staged name stays readable")
    }

    @Test func `only a process that wrote closes the image`() throws {
        let bench = try TreeBench()
        let handle = try bench.create()
        try bench.write(handle, [1, 2, 3], at: 0)
        // The parent holds a copy of the descriptor, as a shell does, and closes it.
        try bench.filesystem.flush(handle, StagedCall(thread: getppid()))
        #expect(try bench.status.contains("state: streaming"))
        try bench.write(handle, [4], at: 3)
        try bench.close(handle)
        #expect(try bench.read(bench.latest + "/disk.raw") == [1, 2, 3, 4])
    }

    @Test func `where the kernel cannot tell who writes, every closing counts`() throws {
        let bench = try TreeBench()
        let handle = try bench.create()
        try bench.write(handle, [1, 2, 3], at: 0, thread: 0)
        try bench.filesystem.flush(handle, StagedCall(thread: getppid()))
        #expect(try bench.status.contains("state: committed"))
    }

    @Test func `the first block of zeros of a declared image starts no backup`() throws {
        let bench = try TreeBench()
        let number = try bench.number("staging/memory/acme/web")
        var handle = try bench.create()
        let file = try bench.filesystem.lookUp("disk.raw", in: number).number
        _ = try bench.filesystem.setByteCount(file, 100_000, handle: handle)
        try bench.write(handle, [UInt8](repeating: 0, count: 4096), at: 0)
        try bench.close(handle)
        #expect(try bench.objectCount == 0)
        handle = try bench.create()
        try bench.write(handle, [UInt8](repeating: 7, count: 100_000), at: 0)
        try bench.close(handle)
        #expect(try bench.read(bench.latest + "/disk.raw") == [UInt8](repeating: 7, count: 100_000))
    }

    @Test(arguments: [(declared: 5000, came: 4096), (5000, 4999), (5000, 5001), (4096, 4095)])
    func `of a declared size exactly that much must come`(declared: Int, came: Int) throws {
        let bench = try TreeBench()
        let handle = try bench.create()
        let file = try bench.number("staging/memory/acme/web/disk.raw")
        _ = try bench.filesystem.setByteCount(file, UInt64(declared), handle: handle)
        try bench.write(handle, [UInt8](repeating: 7, count: came), at: 0)
        #expect(bench.code { try bench.close(handle) } == .inputOutput)
        #expect(try bench.status.contains("were declared"))
        #expect(try bench.objectCount == 0)
    }

    @Test func `a write behind the stream fails, and so does everything after it`() throws {
        let bench = try TreeBench()
        let handle = try bench.create()
        for index in 0..<12 {
            try bench.write(
                handle, [UInt8](repeating: 9, count: TreeBench.frameByteCount), at: index * TreeBench.frameByteCount)
        }
        #expect(bench.code { try bench.write(handle, [1], at: 0) } == .inputOutput)
        #expect(bench.code { try bench.write(handle, [1], at: 12 * TreeBench.frameByteCount) } == .inputOutput)
        #expect(bench.code { try bench.close(handle) } == .inputOutput)
        #expect(try bench.objectCount == 0)
    }

    @Test func `a second writer that meets another's beginning is told busy, and the first goes on`() throws {
        var hanging: HangingStore?
        let bench = try TreeBench { store in
            let made = HangingStore(store)
            hanging = made
            return made
        }
        let store = try #require(hanging)
        store.holdStarts()
        let (first, second) = (try bench.create(), try bench.create())
        // A caller of which the kernel says nothing wants to know of every interrupt: it gives the wait up.
        let call = StagedCall(thread: 0)
        bench.filesystem.interrupt(call, first)
        let code = bench.code { try [1].withUnsafeBytes { _ = try bench.filesystem.write(first, $0, at: 0, call) } }
        #expect(code == .interrupted)
        call.end()
        #expect(bench.code { try bench.write(second, [2], at: 0) } == .busy)
        store.release()
        try bench.write(first, [1, 2, 3], at: 0)
        try bench.close(first)
        bench.filesystem.release(second)
        #expect(try bench.read(bench.latest + "/disk.raw") == [1, 2, 3])
    }

    @Test func `a store that is full or away fails the closing and keeps nothing`() throws {
        let bench = try TreeBench()
        bench.store.setAvailable(false)
        let handle = try bench.create()
        let failed = bench.code {
            for index in 0..<40 {
                try bench.write(
                    handle, (0..<TreeBench.frameByteCount).map { _ in UInt8.random(in: 0...255) },
                    at: index * TreeBench.frameByteCount)
            }
            try bench.close(handle)
        }
        #expect(failed == .inputOutput)
        bench.store.setAvailable(true)
        #expect(try bench.objectCount == 0)
        #expect(try bench.status.contains("state: failed"))
    }

    @Test func `what cannot be staged is refused by its own errno`() throws {
        let bench = try TreeBench()
        let staging = try bench.number("staging")
        let web = try bench.number("staging/memory/acme/web")
        let write = OpenIntent(forWriting: true, truncates: false)
        #expect(bench.code { _ = try bench.filesystem.makeDirectory("elsewhere", in: staging) } == .notPermitted)
        #expect(bench.code { _ = try bench.filesystem.makeDirectory("memory", in: staging) } == .exists)
        #expect(
            bench.code { _ = try bench.filesystem.makeDirectory("nobody", in: bench.number("staging/memory")) }
                == .noKey)
        #expect(bench.code { _ = try bench.filesystem.makeDirectory("x", in: TreeBench.root) } == .readOnly)
        #expect(
            bench.code { _ = try bench.filesystem.create("disk.img", in: web, exclusive: false, write) } == .invalid)
        #expect(
            bench.code { _ = try bench.filesystem.create("x.raw", in: staging, exclusive: false, write) } == .readOnly)
        #expect(bench.code { _ = try bench.number("memory/acme") } == .notFound)
        let handle = try bench.create()
        try bench.write(handle, [1], at: 0)
        #expect(
            bench.code { _ = try bench.filesystem.open(bench.number("staging/memory/acme/web/disk.raw"), write) }
                == .busy)
        try bench.close(handle)
        let raw = try bench.number(bench.latest + "/disk.raw")
        #expect(bench.code { _ = try bench.filesystem.open(raw, write) } == .readOnly)
    }

    private static let image = [UInt8](repeating: 65, count: 200_000)

    @Test func `a committed or failed image is not patched: it is truncated first`() throws {
        let bench = try TreeBench()
        var handle = try bench.create()
        try bench.write(handle, Self.image, at: 0)
        try bench.close(handle)
        for offset in [0, 5, Self.image.count] {
            handle = try bench.create()
            #expect(bench.code { try bench.write(handle, [1, 2, 3], at: offset) } == .notPermitted, "at \(offset)")
            try bench.close(handle)
        }
        #expect(try bench.objectCount == 2)
        #expect(try bench.read(bench.latest + "/disk.raw") == Self.image)
        handle = try bench.create(truncates: true)
        try bench.write(handle, [UInt8](repeating: 66, count: 200_000), at: 0)
        try bench.close(handle)
        #expect(try bench.objectCount == 4)
    }

    @Test func `a late write by the writer withdraws, under its final name, after a rename and after an unlink`() throws
    {
        let bench = try TreeBench()
        let folder = try bench.number("staging/memory/acme/web")
        // `close` of a copy of the descriptor commits; the handle lives on.
        var handle = try bench.create(".disk.raw")
        try bench.write(handle, Self.image, at: 0)
        try bench.filesystem.flush(handle, StagedCall(thread: getpid()))
        try bench.filesystem.rename(".disk.raw", in: folder, to: "disk.raw", in: folder, replacing: true)
        #expect(try bench.objectCount == 2)
        #expect(bench.code { try bench.write(handle, [1], at: 200_000) } == .inputOutput)
        #expect(bench.code { try bench.close(handle) } == .inputOutput)
        #expect(try bench.objectCount == 0)
        handle = try bench.create(truncates: true)
        try bench.write(handle, Self.image, at: 0)
        try bench.filesystem.flush(handle, StagedCall(thread: getpid()))
        try bench.filesystem.removeFile("disk.raw", in: folder)
        #expect(bench.code { try bench.write(handle, [1], at: 200_000) } == .inputOutput)
        try? bench.close(handle)
        #expect(try bench.objectCount == 0)
    }

    @Test func `a handle that wrote an earlier image cannot begin another`() throws {
        let bench = try TreeBench()
        let old = try bench.create()
        try bench.write(old, Self.image, at: 0)
        try bench.filesystem.flush(old, StagedCall(thread: getpid()))
        let new = try bench.create(truncates: true)
        #expect(bench.code { try bench.write(old, [1], at: 200_000) } == .inputOutput)
        try bench.write(new, Self.image, at: 0)
        #expect(bench.code { try bench.write(old, [1], at: 0) } == .inputOutput)
        try bench.close(old)
        try bench.close(new)
        #expect(try bench.objectCount == 4)
    }

    @Test func `an end set further up stays, and only the writer sets it while it streams`() throws {
        let bench = try TreeBench()
        let handle = try bench.create()
        let other = try bench.create()
        let file = try bench.number("staging/memory/acme/web/disk.raw")
        try bench.write(handle, [1, 2, 3], at: 0)
        for count: UInt64 in [0, 1 << 20] {
            #expect(bench.code { _ = try bench.filesystem.setByteCount(file, count, handle: other) } == .busy)
        }
        _ = try bench.filesystem.setByteCount(file, 1 << 20, handle: handle)
        try bench.write(handle, [4], at: 8192)
        try bench.close(handle)
        let expected =
            [1, 2, 3] + [UInt8](repeating: 0, count: 8189) + [4] + [UInt8](repeating: 0, count: (1 << 20) - 8193)
        #expect(try bench.read(bench.latest + "/disk.raw") == expected)
        #expect(bench.code { try bench.write(other, [1], at: 1 << 47) } == .tooLarge)
    }

    @Test func `mv to the final name registers or fails`() throws {
        let bench = try TreeBench()
        let folder = try bench.number("staging/memory/acme/web")
        func move() throws {
            try bench.filesystem.rename(".disk.raw", in: folder, to: "disk.raw", in: folder, replacing: true)
        }
        var handle = try bench.create()
        try bench.write(handle, Self.image, at: 0)
        try bench.close(handle)
        handle = try bench.create(".disk.raw")
        try bench.close(handle)
        #expect(bench.code { try move() } == .invalid)
        handle = try bench.create(".disk.raw")
        try bench.write(handle, [1, 2, 3], at: 0)
        #expect(bench.code { try bench.close(handle) } == .inputOutput, "shorter than the last backup")
        #expect(bench.code { try move() } == .inputOutput)
        #expect(try bench.read("staging/memory/acme/web/disk.raw") == Self.image)
    }

    @Test func `images that wait for their names hold no memory back`() throws {
        let bench = try TreeBench()
        for index in 0..<40 {
            let handle = try bench.create(".d\(index).raw")
            try bench.write(handle, Self.image, at: 0)
            try bench.close(handle)
        }
        let handle = try bench.create()
        try bench.write(handle, Self.image, at: 0)
        try bench.close(handle)
    }

    @Test func `a backup made under a withdrawn one's name is read as itself`() throws {
        let bench = try TreeBench()
        var random = SeededGenerator(seed: 7)
        func noise() -> [UInt8] { (0..<300_000).map { _ in UInt8.random(in: 0...255, using: &random) } }
        // Within one second, mostly: then both have one name.
        for _ in 0..<4 {
            let (first, second) = (noise(), noise())
            var handle = try bench.create(truncates: true)
            try bench.write(handle, first, at: 0)
            try bench.filesystem.flush(handle, StagedCall(thread: getpid()))
            #expect(try bench.read(bench.latest + "/disk.raw") == first)
            #expect(bench.code { try bench.write(handle, [1], at: 0) } == .inputOutput)
            try? bench.close(handle)
            handle = try bench.create(truncates: true)
            try bench.write(handle, second, at: 0)
            try bench.close(handle)
            #expect(try bench.read(bench.latest + "/disk.raw") == second)
        }
    }

    @Test func `ftruncate of a removed file leaves the new one of its name alone`() throws {
        let bench = try TreeBench()
        let folder = try bench.number("staging/memory/acme/web")
        let old = try bench.create()
        let number = try bench.number("staging/memory/acme/web/disk.raw")
        try bench.write(old, [1], at: 0)
        try bench.filesystem.removeFile("disk.raw", in: folder)
        let new = try bench.create()
        try bench.write(new, Self.image, at: 0)
        #expect(bench.code { _ = try bench.filesystem.setByteCount(number, 1 << 20, handle: old) } != nil)
        try bench.close(new)
        #expect(try bench.read(bench.latest + "/disk.raw") == Self.image)
    }
}
