/// Where an archive's bytes come from. The archive itself knows no storage.
package protocol ArchiveSource: Sendable {
    /// The size of the archive in bytes.
    var byteCount: UInt64 { get }

    /// Fills the buffer with the archive's bytes from `archiveOffset` on, or throws; never less. Blocks. Any thread.
    func read(at archiveOffset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws

    /// The same, where an earlier attempt gave bytes that were not authentic: `attempt` is what ``discard(_:attempt:)`` said.
    func read(at archiveOffset: UInt64, into buffer: UnsafeMutableRawBufferPointer, attempt: Int) throws

    /// Told when the bytes that an attempt gave for this range (0 is a plain read) turned out not to be authentic, or could not
    /// be had. Returns the attempt to read with next, which may bring others; nil when there is no other place to read from.
    /// Whoever goes on until nil ends.
    func discard(_ range: Range<UInt64>, attempt: Int) -> Int?
}

extension ArchiveSource {
    package func read(at archiveOffset: UInt64, into buffer: UnsafeMutableRawBufferPointer, attempt: Int) throws {
        try read(at: archiveOffset, into: buffer)
    }

    package func discard(_ range: Range<UInt64>, attempt: Int) -> Int? { nil }
}

/// Where a new archive's bytes go, in order.
package protocol ArchiveSink: Sendable {
    /// Takes the next bytes. May block; is called on one thread at a time.
    func append(_ bytes: UnsafeRawBufferPointer) throws
}
