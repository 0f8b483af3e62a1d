import AgeFormat
import Archive
import BackupEngine
import BackupNames
import Catalog
import Foundation
import SeekableZstd
import Storage
import StorageTesting
import Testing

@Suite("Ways to restore", .timeLimit(.minutes(2)))
struct RestoreModeTests {
    private let bench: EngineBench
    private let image: [UInt8]
    private let identifier: BackupIdentifier
    private let target: String

    init() throws {
        bench = try EngineBench()
        // Data at both ends, holes within.
        let noise = (0..<1 << 20).map { _ in UInt8.random(in: 0...255) }
        let tiles = (0..<24).flatMap { _ in noise }
        image = tiles + [UInt8](repeating: 0, count: 2_000_000) + tiles.prefix(9_000_000) + [1]
        identifier = try bench.backUp(image)
        target = bench.folder + "/target.raw"
    }

    private func bytes(of path: String) throws -> [UInt8] { Array(try Data(contentsOf: URL(fileURLWithPath: path))) }

    private var journals: [String] {
        (try? FileManager.default.contentsOfDirectory(atPath: bench.folder + "/restores")) ?? []
    }

    /// Damages a data frame in the middle, and returns its raw range.
    private func damageFrame() throws -> Range<UInt64> {
        let layout = try bench.engine.open(identifier).reader.layout
        let frames = (0..<layout.seekTable.frameCount).filter {
            !layout.seekTable.isZeroFrame($0) && layout.seekTable[$0].compressedByteCount > 65_000
        }
        let frame = frames[frames.count / 2]
        let range = layout.seekTable.streamRange(ofFrame: frame)
        // In its middle: with frames of a chunk's size, the chunk is mostly its own.
        let chunk = layout.payload.chunks(covering: range).lowerBound
        let offset = layout.payload.archiveRange(ofChunk: chunk).lowerBound + 5
        try bench.tamper(identifier.archiveKey) { $0[Int(offset)] ^= 1 }
        return layout.seekTable.rawRange(ofFrame: frame)
    }

    @Test(arguments: [RestoreOptions.Mode.verifyFirst, .stream, .salvage])
    func `every way gives the image, to a new file and over an old one, and leaves no journal`(
        mode: RestoreOptions.Mode
    ) throws {
        for fill in [nil, image.count, 10] {
            try? FileManager.default.removeItem(atPath: target)
            if let fill { try Data(repeating: 0xaa, count: fill).write(to: URL(fileURLWithPath: target)) }
            let result = try bench.engine.restore(identifier, to: target, RestoreOptions(mode: mode, force: true))
            #expect(try bytes(of: target) == image)
            #expect(result.isComplete && result.rawSHA256 != nil && result.damage.isEmpty)
        }
        #expect(journals.isEmpty)
    }

    @Test func `a file that is there is not touched before everything is verified`() throws {
        let old = [UInt8](repeating: 0xaa, count: 6_000_000)
        try Data(old).write(to: URL(fileURLWithPath: target))
        _ = try damageFrame()
        #expect(
            bench.code { _ = try bench.engine.restore(identifier, to: target, RestoreOptions(force: true)) } == .damaged
        )
        #expect(try bytes(of: target) == old)
    }

    @Test func `streaming onto what is there leaves it unusable when something does not fit`() throws {
        try Data(repeating: 0xaa, count: image.count).write(to: URL(fileURLWithPath: target))
        _ = try damageFrame()
        var sawUnusable = false
        let options = RestoreOptions(mode: .stream, force: true)
        let code = bench.code {
            _ = try bench.engine.restore(identifier, to: target, options) { _, done, _ in
                // Already while it runs: a power cut may come at any time.
                if done > 0, !sawUnusable {
                    let now = try bytes(of: target)
                    sawUnusable =
                        now.prefix(1 << 20).allSatisfy { $0 == 0 } && now.suffix(1 << 20).allSatisfy { $0 == 0 }
                }
            }
        }
        #expect(code == .damaged)
        #expect(sawUnusable)
        #expect(try bytes(of: target).allSatisfy { $0 == 0 }, "a file is emptied")
        #expect(journals.isEmpty)
    }

    @Test func `salvage goes on past damage, with zeros in its place, and says so`() throws {
        let lost = try damageFrame()
        #expect(bench.code { _ = try bench.restore(identifier) } == .damaged)
        let result = try bench.engine.restore(identifier, to: target, RestoreOptions(mode: .salvage))
        #expect(!result.isComplete && result.rawSHA256 == nil)
        let ranges = LostRange.list(of: result.damage, []).map(\.rawRange)
        #expect(ranges.contains { $0.contains(lost.lowerBound) })
        var expected = image
        for range in ranges { for index in Int(range.lowerBound)..<Int(range.upperBound) { expected[index] = 0 } }
        #expect(try bytes(of: target) == expected)
        #expect(result.lostByteCount == ranges.reduce(0) { $0 + UInt64($1.count) })
        #expect(result.lostByteCount < 400_000, "a chunk costs the frames that share it, no more")
        #expect(try bench.engine.catalog.damage(identifier).isEmpty == false)
        #expect(try bench.engine.catalog.checks(identifier).last?.isGood == false)
    }

    @Test func `salvage takes what is left of an archive that was cut`() throws {
        try bench.tamper(identifier.archiveKey) { $0.removeLast($0.count / 3) }
        #expect(bench.code { _ = try bench.restore(identifier) } == .truncated)
        let result = try bench.engine.restore(identifier, to: target, RestoreOptions(mode: .salvage))
        let restored = try bytes(of: target)
        #expect(restored.count == image.count)
        #expect(restored.prefix(3_000_000).elementsEqual(image.prefix(3_000_000)))
        #expect(result.lostByteCount > 0)
    }

    @Test func `salvage gives up on a store that is away, and does not take that for damage`() throws {
        bench.store.failOperation(6, of: .read, .forGood, .beforeEffect)
        let code = bench.code { _ = try bench.engine.restore(identifier, to: target, RestoreOptions(mode: .salvage)) }
        #expect(code == .backendUnavailable)
        bench.store.heal()
        #expect(try bench.engine.catalog.damage(identifier).isEmpty)
        let options = RestoreOptions(mode: .salvage, resumes: true)
        #expect(try bench.engine.restore(identifier, to: target, options).isComplete)
        #expect(try bytes(of: target) == image)
    }

    @Test(arguments: [RestoreOptions.Mode.verifyFirst, .stream], [false, true])
    func `an interrupted restore goes on where it stopped, and believes nothing of what is there`(
        mode: RestoreOptions.Mode, isNew: Bool
    ) throws {
        if !isNew { try Data(repeating: 0xaa, count: image.count).write(to: URL(fileURLWithPath: target)) }
        let passes = mode == .verifyFirst && !isNew ? 2 : 1
        bench.store.resetCounts()
        _ = try bench.engine.restore(identifier, to: bench.folder + "/whole.raw", RestoreOptions(mode: mode))
        let reads = bench.store.count(of: .read)
        // In the last third of the pass that writes.
        bench.store.failOperation((passes - 1) * reads + reads * 2 / 3, of: .read, .forGood, .beforeEffect)
        var options = RestoreOptions(mode: mode, force: true)
        #expect(bench.code { _ = try bench.engine.restore(identifier, to: target, options) } == .backendUnavailable)
        bench.store.heal()
        #expect(journals.count == 1)
        let there = isNew ? target + ".partial" : target
        #expect(try bytes(of: there).suffix(1 << 20).allSatisfy { $0 == 0 } || isNew)
        // Some of what was written is not what it should be any more: in the second frame after the edge.
        let handle = try #require(FileHandle(forUpdatingAtPath: there))
        try handle.seek(toOffset: 1_200_000)
        try handle.write(contentsOf: Data(repeating: 0x77, count: 3))
        try handle.close()
        bench.store.resetCounts()
        options.resumes = true
        options.force = false
        let result = try bench.engine.restore(identifier, to: target, options)
        #expect(try bytes(of: target) == image)
        #expect(result.resumedByteCount > 1_000_000 && result.resumedByteCount < UInt64(image.count))
        let stored = try bench.storedByteCount(identifier)
        #expect(bench.store.readByteCount < UInt64(passes) * stored)
        #expect(journals.isEmpty)
    }

    @Test func `a journal of another backup, or of another target, is none`() throws {
        bench.store.failOperation(6, of: .read, .forGood, .beforeEffect)
        #expect(bench.code { _ = try bench.restore(identifier, to: target) } == .backendUnavailable)
        bench.store.heal()
        let other = try bench.backUp(Array(image.reversed()))
        let result = try bench.engine.restore(other, to: target, RestoreOptions(resumes: true))
        #expect(result.resumedByteCount == 0)
        #expect(try bytes(of: target) == Array(image.reversed()))
    }

    @Test func `a journal that was changed costs time, not truth`() throws {
        bench.store.failOperation(6, of: .read, .forGood, .beforeEffect)
        #expect(bench.code { _ = try bench.restore(identifier, to: target) } == .backendUnavailable)
        bench.store.heal()
        let path = bench.folder + "/restores/" + (try #require(journals.first))
        var journal = try bytes(of: path)
        #expect(journal.count > 96)
        for index in journal.indices where index >= 96 && index % 7 == 0 { journal[index] ^= 1 }
        try Data(journal.dropLast(3)).write(to: URL(fileURLWithPath: path))
        _ = try bench.engine.restore(identifier, to: target, RestoreOptions(resumes: true))
        #expect(try bytes(of: target) == image)
    }
}
