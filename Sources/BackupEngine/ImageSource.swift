internal import Archive
package import BackupNames
internal import Catalog
internal import Glibc
internal import Manifest
internal import SystemIO
internal import Workers

/// Something that gives the bytes of a disk once, from front to back: a file, a device, a server of network block devices.
///
/// It is opened, and the consistent point reached, before a backup of it begins; whoever opened it closes it.
package protocol ImageSource {
    /// As messages call it.
    var name: String { get }
    /// Bytes of the image, which must come; nil for a stream, which ends where it ends.
    var byteCount: UInt64? { get }
    /// How the consistent point was reached, for the manifest; "none" where the source is read as it is.
    var consistency: String { get }
    /// When that point was, seconds since 1970; nil: the moment at which the backup begins.
    var consistentAt: Int64? { get }
    /// Gives every byte to the sink, in order, whole frames but the last; runs of zeros of whole frames as such where the source
    /// knows of them without reading. At most `FrameWindow.frameLimit` buffers may be held at once. `progress` is told the bytes
    /// given so far and `byteCount`, or 0. An error names the offset that could not be read.
    func stream(to sink: some FrameSink, progress: ProgressReport) throws
}

extension Engine {
    /// Backs up a source as a disk. `progress` has 0 for the total of a stream. With `lockedUntil` (seconds since 1970) nobody can
    /// remove it before; a backend that cannot promise that gets nothing.
    package func backUp(
        _ source: some ImageSource, as disk: DiskName, to backend: Backend, lockedUntil: Int64? = nil,
        progress: ProgressReport = { _, _ in }
    ) throws(EngineError) -> VerifiedManifest {
        if source.byteCount == 0 {
            throw EngineError(.emptyImage, "\"\(source.name)\" is empty: there is nothing to back up")
        }
        let session = try BackupSession(
            engine: self, backend: backend, disk: disk, consistency: source.consistency,
            consistentAt: source.consistentAt, lockedUntil: lockedUntil)
        do {
            try source.stream(to: session, progress: progress)
        } catch {
            session.abort()
            throw EngineError(error, subject: "backing up \"\(source.name)\"")
        }
        try session.finishUpload(declaredByteCount: source.byteCount)
        try session.register()
        do {
            guard let record = try catalog.access(session.identifier) else {
                throw EngineError(.catalog, "the backup \(session.identifier) is gone again")
            }
            return try manifest(of: record)
        } catch {
            throw EngineError(error, subject: "\(session.identifier)")
        }
    }
}
