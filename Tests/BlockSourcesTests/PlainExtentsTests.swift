import BackupEngine
import Foundation
import Glibc
import SystemIO
import TestSupport
import Testing

@testable import BlockSources

@Suite("What lies in an image's file as it is", .serialized, .timeLimit(.minutes(2)))
struct PlainExtentsTests {
    /// How the image `a.raw` becomes another, and how much of that can be read past the server.
    struct Layout: CustomTestStringConvertible, Sendable {
        enum Plain { case all, some, none }

        let name: String
        var format = ImageFormat.qcow2
        let make: String
        let plain: Plain
        var testDescription: String { name }

        static let all: [Layout] = [
            Layout(name: "qcow2", make: "qemu-img convert -O qcow2 a.raw a.img", plain: .all),
            Layout(name: "version 2", make: "qemu-img convert -O qcow2 -o compat=0.10 a.raw a.img", plain: .all),
            Layout(
                name: "clusters of 512 bytes", make: "qemu-img convert -O qcow2 -o cluster_size=512 a.raw a.img",
                plain: .all),
            Layout(
                name: "subclusters", make: "qemu-img convert -O qcow2 -o extended_l2=on,cluster_size=128k a.raw a.img",
                plain: .all),
            Layout(
                name: "in any order", make: "qemu-img convert -m 16 -W -O qcow2 -o cluster_size=4k a.raw a.img",
                plain: .all),
            Layout(
                name: "packed, where that saves room",
                make: "qemu-io -f raw -c 'write -q -P 3 1M 4M' a.raw && qemu-img convert -c -O qcow2 a.raw a.img",
                plain: .some),
            Layout(
                name: "packed, and written since",
                make: """
                    qemu-io -f raw -c 'write -q -P 3 1M 4M' a.raw && qemu-img convert -c -O qcow2 a.raw a.img
                    qemu-io -f qcow2 -c 'write -q -P 5 1000k 900k' a.img && qemu-img convert -O raw a.img a.raw
                    """, plain: .some),
            Layout(
                name: "written twice, the first time kept in a snapshot",
                make: """
                    qemu-img convert -O qcow2 a.raw a.img && qemu-img snapshot -c before a.img
                    qemu-io -f qcow2 -c 'write -q -P 5 1000k 900k' a.img && qemu-img convert -O raw a.img a.raw
                    """, plain: .all),
            Layout(
                name: "with zeros that hide data",
                make: """
                    qemu-img convert -O qcow2 a.raw a.img && qemu-io -f qcow2 -c 'write -q -P 6 4M 1M' a.img
                    qemu-io -f qcow2 -c 'write -q -z 4M 512k' a.img && qemu-img convert -O raw a.img a.raw
                    """, plain: .all),
            Layout(
                name: "over a backing file",
                make: """
                    qemu-img convert -O qcow2 a.raw base.img && qemu-img create -q -f qcow2 -F qcow2 -b base.img a.img
                    qemu-io -f qcow2 -c 'write -q -P 5 1000k 900k' a.img && qemu-img convert -O raw a.img a.raw
                    """, plain: .some),
            Layout(
                name: "over a raw backing file, empty", make: "qemu-img create -q -f qcow2 -F raw -b a.raw a.img",
                plain: .none),
            Layout(
                name: "with its data in another file",
                make: "qemu-img convert -O qcow2 -o data_file=$PWD/data.img a.raw a.img", plain: .none),
            Layout(name: "vmdk", format: .vmdk, make: "qemu-img convert -O vmdk a.raw a.img", plain: .all),
            Layout(
                name: "vmdk, packed", format: .vmdk,
                make: "qemu-img convert -O vmdk -o subformat=streamOptimized a.raw a.img", plain: .none),
            Layout(
                name: "vmdk, its data in another file", format: .vmdk,
                make: "qemu-img convert -O vmdk -o subformat=monolithicFlat a.raw a.img", plain: .none),
            Layout(
                name: "vmdk in parts", format: .vmdk,
                make: "qemu-img convert -O vmdk -o subformat=twoGbMaxExtentSparse a.raw a.img", plain: .none),
            Layout(name: "vdi", format: .vdi, make: "qemu-img convert -O vdi a.raw a.img", plain: .all),
            Layout(name: "vhdx", format: .vhdx, make: "qemu-img convert -O vhdx a.raw a.img", plain: .none),
        ]
    }

    @Test(arguments: Layout.all)
    func `the bytes are the disk's, however the image is laid out`(layout: Layout) throws {
        let folder = try TemporaryFolder()
        let seed = UInt64.random(in: 0...UInt64.max)
        let image = try RandomImage(folder.path + "/a.raw", byteCount: 9 << 20, pieces: 12, seed: seed)
        let path = folder.path + "/a.img"
        try shell("cd \(folder.path) && \(layout.make)")
        let bytes = Array(try Data(contentsOf: URL(fileURLWithPath: image.path)))
        let data = UInt64(bytes.count { $0 != 0 })

        let covered = try extents(path, layout.format)?.byteCount ?? 0
        switch layout.plain {
        // More than the data, for clusters are read whole.
        case .all: #expect(covered >= data && data > 0, "\(covered) of \(data), seed \(seed)")
        case .some: #expect(covered > 0 && covered < data, "\(covered) of \(data), seed \(seed)")
        case .none: #expect(covered == 0)
        }

        for frame in [64 << 10, 1 << 20] {
            let source = try BlockSource.open(path, format: layout.format)
            // A source can be read again.
            for _ in 0..<2 {
                let sink = CollectingSink(frameByteCount: frame)
                try source.stream(to: sink) { _, _ in }
                #expect(sink.bytes == bytes, "seed \(seed)")
            }
        }
    }

    @Test func `a place is found whichever way one reads`() throws {
        let folder = try TemporaryFolder()
        let image = try RandomImage(folder.path + "/a.raw", byteCount: 5 << 20, pieces: 9, seed: 3)
        let path = folder.path + "/a.qcow2"
        try shell("qemu-img convert -m 16 -W -O qcow2 -o cluster_size=4k \(image.path) \(path)")
        let extents = try #require(try extents(path, .qcow2))
        let file = try Data(contentsOf: URL(fileURLWithPath: path))
        var state: UInt64 = 1
        var found = 0
        for _ in 0..<20_000 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            let offset = (state >> 20) % UInt64(image.bytes.count)
            guard let run = extents.run(at: offset) else {
                #expect(image.bytes[Int(offset)] == 0)
                continue
            }
            found += 1
            #expect(file[Int(run.place)] == image.bytes[Int(offset)])
            let last = UInt64(run.byteCount - 1)
            #expect(file[Int(run.place + last)] == image.bytes[Int(offset + last)])
        }
        #expect(found > 1000 && extents.run(at: UInt64.max) == nil)
    }

    @Test func `places that hold other bytes than the server reads end the backup`() throws {
        let folder = try TemporaryFolder()
        let image = try RandomImage(folder.path + "/a.raw", byteCount: 2 << 20, pieces: 4, seed: 8)
        // Two images with data at the same places, and other bytes there.
        try shell(
            """
            cd \(folder.path) && qemu-img convert -O qcow2 a.raw a.qcow2 && cp a.qcow2 b.qcow2
            qemu-io -f qcow2 -c 'write -q -P 5 0 2M' b.qcow2
            """)
        let server = try BlockServer([
            "qemu-nbd", "--read-only", "--format=qcow2", "--persistent", "--shared=2", "--socket=SOCKET",
            folder.path + "/a.qcow2",
        ])
        let source = try NBDSource.open(uri: server.uri(""))
        let error = #expect(throws: EngineError.self) {
            try source.stream(to: CollectingSink(), plain: extents(folder.path + "/b.qcow2", .qcow2)) { _, _ in }
        }
        #expect(error?.detail.contains("has other bytes there than QEMU reads") == true, "\(error!)")
        // The same with those that are right.
        let again = try NBDSource.open(uri: server.uri(""))
        let sink = CollectingSink()
        try again.stream(to: sink, plain: extents(folder.path + "/a.qcow2", .qcow2)) { _, _ in }
        #expect(sink.bytes == image.bytes)
    }

    @Test func `who writes without QEMU's lock does not end a backup, as little as that of a raw image`() throws {
        let folder = try TemporaryFolder()
        let path = folder.path + "/a.qcow2"
        try shell("qemu-img create -q -f qcow2 \(path) 64M && qemu-io -f qcow2 -c 'write -q -P 7 0 64M' \(path)")
        let place = try #require(try extents(path, .qcow2)?.run(at: 0)).place
        // Thousands of small writes all over the disk's bytes, past the format.
        let script = """
            import os, random, sys, time
            f = os.open(sys.argv[1], os.O_WRONLY); start = int(sys.argv[2])
            print("ready", flush=True)
            end = time.monotonic() + 0.4
            while time.monotonic() < end:
                os.pwrite(f, random.randbytes(512), start + 512 * random.randrange(1 << 17)); time.sleep(0.00005)
            """
        for _ in 0..<8 {
            // It begins when the map is known: before, that the file has changed would be seen.
            var writer: LineProcess?
            let sink = CountingSink()
            try BlockSource.open(path, format: .qcow2).stream(to: sink) { _, _ in
                guard writer == nil else { return }
                writer = try LineProcess(["/usr/bin/python3", "-c", script, path, "\(place)"])
                #expect(try writer?.greeting(seconds: 10) == "ready")
            }
            #expect(sink.byteCount == 64 << 20)
        }
    }

    @Test func `an image that is written while it is looked at is read by the server alone`() throws {
        let folder = try TemporaryFolder()
        let path = folder.path + "/a.qcow2"
        try shell("qemu-img create -q -f qcow2 \(path) 8M && qemu-io -f qcow2 -c 'write -q -P 7 0 4M' \(path)")
        let file = try OwnedFile(opening: path, for: .read)
        // Another file of that name.
        try shell("cp \(path) \(path).new && mv \(path).new \(path)")
        #expect(PlainExtents.find(file, path, format: .qcow2) == nil)
        #expect(try extents(path, .qcow2)?.byteCount == 4 << 20)
        #expect(try extents(folder.path + "/absent", .qcow2) == nil)
        // Locked by a guest.
        let guest = try BlockServer(["qemu-nbd", "--format=qcow2", "--persistent", "--socket=SOCKET", path])
        #expect(try extents(path, .qcow2) == nil)
        guest.end()
    }

    private func extents(_ path: String, _ format: ImageFormat) throws -> PlainExtents? {
        guard let file = try? OwnedFile(opening: path, for: .read) else { return nil }
        return PlainExtents.find(file, path, format: format)
    }
}
