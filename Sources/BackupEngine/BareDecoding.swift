package import Archive
internal import Glibc
internal import SystemIO
internal import Workers

/// Decoding a bare archive: no catalog, no manifest, one pass. Each frame is authenticated before it is handed on; the whole
/// is proven only at the end, so the caller learns both hashes.
package enum BareDecoder {
    /// Decodes to a file, or to standard output for `-`. An existing file with data needs `force`.
    package static func decode(
        _ reader: ArchiveReader, source: any ArchiveSource, to path: String, force: Bool,
        progress: ProgressReport = { _, _ in }
    ) throws(EngineError) -> ArchiveScan.Hashes {
        let workers = WorkerPool()
        defer { workers.close() }
        let total = reader.rawByteCount
        do {
            if path == "-" {
                let output = OutputStream(OwnedFile(adopting: try Errno.check { dup(1) }))
                return try hashes(
                    ArchiveScan.run(
                        reader, source: source, workers: workers, decoders: FrameDecoderPool(),
                        ArchiveScan.Options(deliver: { _, pieces, done in
                            do {
                                for piece in pieces { try output.write(piece) }
                                done(nil)
                            } catch {
                                done(error)
                            }
                        }), progress: { try progress($0, total) }))
            }
            let target = try RestoreTarget.examine(path, rawByteCount: total, force: force)
            let output = try target.open()
            do {
                let hashes = try hashes(
                    ArchiveScan.run(
                        reader, source: source, workers: workers, decoders: FrameDecoderPool(),
                        ArchiveScan.Options(deliver: { offset, pieces, done in done(output.write(pieces, at: offset)) }
                        ),
                        progress: { try progress($0, total) }))
                try output.finish()
                return hashes
            } catch {
                output.abandon()
                throw error
            }
        } catch {
            throw EngineError(error, subject: "decoding to \"\(path)\"")
        }
    }
}

extension BareDecoder {
    private static func hashes(_ outcome: ArchiveScan.Outcome) -> ArchiveScan.Hashes {
        guard let hashes = outcome.hashes else {
            preconditionFailure("internal error: a scan that tolerates nothing has hashed everything")
        }
        return hashes
    }
}

/// A pipe or terminal that takes the image from front to back.
final class OutputStream: Sendable {
    private let file: OwnedFile

    init(_ file: consuming OwnedFile) { self.file = file }

    func write(_ piece: RawPiece) throws {
        do throws(Errno) {
            switch piece {
            case .data(let buffer, let count): try file.write(buffer.prefix(count))
            case .zeros(let count):
                var rest = count
                while rest > 0 {
                    let size = min(rest, UInt64(Zeros.byteCount))
                    try file.write(Zeros.prefix(Int(size)))
                    rest -= size
                }
            }
        } catch {
            throw EngineError(.target, "standard output cannot be written: \(error)", cause: error)
        }
    }
}
