internal import CryptoPrimitives
internal import Foundation
internal import Glibc
internal import Synchronization
internal import SystemIO

/// Which frames an interrupted restore has written, so that `--resume` need not fetch them again. It is believed in nothing: the
/// target is read back, each frame is compared with its tag, and the SHA-256 of the whole image, over what was read back and what
/// was fetched, proves the rest.
///
/// A file in the state folder, `restores/<SHA-256 of target and archive>`, mode 0600, locked while it is used:
///
/// | bytes | |
/// |---|---|
/// | 64 | SHA-256 of the target's path and the archive's header, in hexadecimal |
/// | 32 | a random key |
/// | 20 each | frame, little-endian (4); Poly1305 tag of its raw bytes under that key (16) |
///
/// A record that is cut short, as a power cut leaves it, ends the file. Bounded by one record for each frame and run.
final class RestoreJournal: FrameSupply {
    private static let recordByteCount = 20
    private static let headByteCount = 64 + Poly1305.keyByteCount

    private struct State {
        var tags: [Int: Poly1305.Tag]
        var endOffset: UInt64
        var supplied: UInt64 = 0
    }

    private let path: String
    private let file: OwnedFile
    private let key: [UInt8]
    private let output: RestoreOutput
    private let rangeOfFrame: @Sendable (Int) -> Range<UInt64>
    private let state: Mutex<State>

    /// Where the journal of a restore is.
    static func path(_ stateDirectory: String, target: String, header: [UInt8]) -> (path: String, name: String) {
        let full = target.hasPrefix("/") ? target : FileManager.default.currentDirectoryPath + "/" + target
        let name = SHA256Hasher.digest(of: Array(full.utf8) + [0] + header).hexadecimal
        return ("\(stateDirectory)/restores/\(name)", name)
    }

    static func exists(_ stateDirectory: String, target: String, header: [UInt8]) -> Bool {
        (try? FileFacts.of(path(stateDirectory, target: target, header: header).path)) != nil
    }

    /// Opens the journal; without `keeps`, or where there is none that fits, it begins anew. nil where another restore has it.
    init?(
        _ stateDirectory: String, target: String, header: [UInt8], keeps: Bool, frameCount: Int, output: RestoreOutput,
        rangeOfFrame: @escaping @Sendable (Int) -> Range<UInt64>
    ) throws(Errno) {
        let (path, name) = Self.path(stateDirectory, target: target, header: header)
        try makeDirectories(stateDirectory + "/restores", mode: 0o700)
        let file = try OwnedFile(opening: path, for: .readWrite, options: [.create, .noFollow], mode: 0o600)
        guard try file.tryLock() else { return nil }
        let limit = Self.headByteCount + 4 * max(1, frameCount) * Self.recordByteCount
        let old = keeps ? (try? readWholeFile(path, maximumByteCount: limit)) ?? [] : []
        var tags: [Int: Poly1305.Tag] = [:]
        if old.count >= Self.headByteCount, old.starts(with: Array(name.utf8)) {
            key = Array(old[64..<Self.headByteCount])
            var offset = Self.headByteCount
            while offset + Self.recordByteCount <= old.count {
                let record = old[offset..<offset + Self.recordByteCount]
                let number = record.prefix(4).reversed().reduce(0) { $0 << 8 | Int($1) }
                if number < frameCount { tags[number] = Self.tag(Array(record.dropFirst(4))) }
                offset += Self.recordByteCount
            }
            state = Mutex(State(tags: tags, endOffset: UInt64(offset)))
        } else {
            var fresh = [UInt8](repeating: 0, count: Poly1305.keyByteCount)
            fresh.withUnsafeMutableBytes { SystemRandom.fill($0) }
            key = fresh
            try file.truncate(to: 0)
            var failure: Errno?
            (Array(name.utf8) + fresh).withUnsafeBytes { bytes in
                do throws(Errno) { try file.write(bytes, at: 0) } catch { failure = error }
            }
            if let failure { throw failure }
            state = Mutex(State(tags: [:], endOffset: UInt64(Self.headByteCount)))
        }
        self.path = path
        self.file = file
        self.output = output
        self.rangeOfFrame = rangeOfFrame
    }

    /// Raw bytes that came from the target.
    var suppliedByteCount: UInt64 { state.withLock { $0.supplied } }

    // MARK: Writing down

    /// Frames that are on the target now, whole.
    func note(_ frames: [(index: Int, bytes: UnsafeRawBufferPointer)]) {
        guard !frames.isEmpty else { return }
        var records: [UInt8] = []
        for frame in frames {
            let tag = tag(of: frame.bytes)
            for shift in [0, 8, 16, 24] { records.append(UInt8(truncatingIfNeeded: frame.index >> shift)) }
            withUnsafeBytes(of: tag.low.littleEndian) { records += $0 }
            withUnsafeBytes(of: tag.high.littleEndian) { records += $0 }
        }
        let offset = state.withLock { state in
            defer { state.endOffset += UInt64(records.count) }
            return state.endOffset
        }
        // What cannot be written down is fetched once more, should it come to that.
        records.withUnsafeBytes { try? file.write($0, at: offset) }
    }

    /// The restore is over: there is nothing to go on with.
    func remove() { try? FileTree.remove(path) }

    // MARK: FrameSupply

    func has(frame: Int) -> Bool { state.withLock { $0.tags[frame] != nil } }

    func read(frame: Int, into buffer: UnsafeMutableRawBufferPointer) -> Bool {
        guard let expected = state.withLock({ $0.tags[frame] }),
            output.read(at: rangeOfFrame(frame).lowerBound, into: buffer),
            tag(of: UnsafeRawBufferPointer(buffer)) == expected
        else { return false }
        state.withLock { $0.supplied += UInt64(buffer.count) }
        return true
    }

    private func tag(of bytes: UnsafeRawBufferPointer) -> Poly1305.Tag {
        key.withUnsafeBytes { Poly1305.tag(of: bytes, key: $0) }
    }

    private static func tag(_ bytes: [UInt8]) -> Poly1305.Tag {
        func number(_ part: ArraySlice<UInt8>) -> UInt64 { part.reversed().reduce(0) { $0 << 8 | UInt64($1) } }
        return Poly1305.Tag(low: number(bytes[0..<8]), high: number(bytes[8..<16]))
    }
}
