/// Where an archive's bytes come from. The archive itself knows no storage.
package protocol ArchiveSource: Sendable {
    /// The size of the archive in bytes.
    var byteCount: UInt64 { get }

    /// Fills the buffer with the archive's bytes from `archiveOffset` on, or throws; never less. Blocks. Any thread.
    func read(at archiveOffset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws
}

/// Where a new archive's bytes go, in order.
package protocol ArchiveSink: Sendable {
    /// Takes the next bytes. May block; is called on one thread at a time.
    func append(_ bytes: UnsafeRawBufferPointer) throws
}
