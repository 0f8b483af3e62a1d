internal import Archive
internal import SeekableZstd
internal import Synchronization
internal import SystemIO

/// Where a drill restores to.
package enum DrillTarget: Sendable, Hashable {
    /// Nowhere: everything is fetched, decoded and hashed, nothing is kept.
    case null
    /// A file without a name in a folder, of at most so many bytes of data; holes take none.
    case scratch(folder: String, capByteCount: UInt64)
}

/// The image that a drill writes: decrypted, so in a folder that somebody chose for that, and without a name, so that nothing is
/// left of it after a crash.
final class ScratchImage: Sendable {
    private let output: RestoreOutput
    private let capByteCount: UInt64
    private let written = Atomic<UInt64>(0)

    /// Refuses an image whose data has no room under the cap or in the file system.
    init(in folder: String, capByteCount: UInt64, for backup: OpenBackup) throws(EngineError) {
        let dataByteCount = backup.dataByteCount
        guard dataByteCount <= capByteCount else {
            throw EngineError(
                .targetTooSmall,
                "\(backup.identifier) has \(dataByteCount) bytes of data, the scratch image may have \(capByteCount)")
        }
        let free: UInt64
        do throws(Errno) {
            free = try FileSystemSpace.of(folder).availableByteCount
        } catch {
            throw EngineError(.target, "no scratch image can be made in \"\(folder)\": \(error)", cause: error)
        }
        guard dataByteCount <= free else {
            throw EngineError(
                .targetTooSmall,
                "\(backup.identifier) has \(dataByteCount) bytes of data, \"\(folder)\" has \(free) free")
        }
        do throws(Errno) {
            let file = try OwnedFile.unnamed(in: folder)
            try file.truncate(to: backup.rawByteCount)
            output = RestoreOutput(
                file, path: folder + "/(scratch)", isDevice: false, isNew: false,
                rawByteCount: backup.rawByteCount)
        } catch {
            throw EngineError(.target, "no scratch image can be made in \"\(folder)\": \(error)", cause: error)
        }
        self.capByteCount = capByteCount
    }

    /// Returns what went wrong. Any thread, several at once.
    func write(_ pieces: [RawPiece], at rawOffset: UInt64) -> (any Error)? {
        var count: UInt64 = 0
        for case .data(_, let byteCount) in pieces { count += UInt64(byteCount) }
        guard written.wrappingAdd(count, ordering: .relaxed).newValue <= capByteCount else {
            return EngineError(.targetTooSmall, "the image has more data than its seek table says")
        }
        return output.write(pieces, at: rawOffset)
    }

    /// Everything is on the disk when this returns.
    func finish() throws { try output.finish() }
}
