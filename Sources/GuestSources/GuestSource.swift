package import BackupEngine
internal import BlockSources

/// A disk of a running guest as it was at one moment, read once from front to back while the guest goes on.
///
/// What was done in its QEMU for that is removed at the end of the reading, whatever came of it, or by `close`. One thread at a time.
package final class GuestSource: ImageSource {
    package let name: String
    package let byteCount: UInt64?
    package let consistency: String
    package let consistentAt: Int64?
    /// How long the guest's file systems stood still; nil: they did not.
    package let frozenTime: Duration?
    private let session: GuestSession
    private var source: NBDSource?

    init(_ session: GuestSession, _ source: NBDSource) {
        self.session = session
        self.source = source
        (name, byteCount, consistency) = (source.name, source.byteCount, source.consistency)
        (consistentAt, frozenTime) = (source.consistentAt, session.frozenTime)
    }

    deinit { close() }

    package func stream(to sink: some FrameSink, progress: ProgressReport) throws {
        let result = Result { try read(to: sink, progress) }
        let session = session
        let explained = result.mapError { error in
            if let error = error as? EngineError, error.code == .source { session.explained(error) } else { error }
        }
        // Nothing holds the connection any more.
        close()
        try explained.get()
    }

    private func read(to sink: some FrameSink, _ progress: ProgressReport) throws {
        guard let source else { preconditionFailure("internal error: a guest's disk that is read twice") }
        try source.stream(to: sink) { given, total in
            session.goesOn()
            try progress(given, total)
        }
    }

    /// Ends it, read or not. More than once is no harm.
    package func close() {
        // The client first: QEMU's export ends when its connections do.
        source = nil
        session.end()
    }
}
