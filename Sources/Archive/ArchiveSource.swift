/// Where an archive's bytes come from. The archive itself knows no storage.
package protocol ArchiveSource: Sendable {
    /// The size of the archive in bytes.
    var byteCount: UInt64 { get }

    /// Fills the buffer with the archive's bytes from `archiveOffset` on, or throws; never less. Blocks. Any thread.
    func read(at archiveOffset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws

    /// Told when bytes that were given for this range turned out not to be authentic. True says that they came from a copy
    /// that is now dropped: reading once more may give the right ones.
    func discard(_ range: Range<UInt64>) -> Bool
}

extension ArchiveSource {
    package func discard(_ range: Range<UInt64>) -> Bool { false }
}

/// Where a new archive's bytes go, in order.
package protocol ArchiveSink: Sendable {
    /// Takes the next bytes. May block; is called on one thread at a time.
    func append(_ bytes: UnsafeRawBufferPointer) throws
}
