internal import Archive
package import Storage

/// An archive at a backend, as the reader sees it.
package struct StoredObject: ArchiveSource {
    package let store: any ObjectStore
    package let key: ObjectKey
    package let byteCount: UInt64

    package init(store: any ObjectStore, key: ObjectKey, byteCount: UInt64) {
        self.store = store
        self.key = key
        self.byteCount = byteCount
    }

    package func read(at archiveOffset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws {
        try store.read(key, at: archiveOffset, into: buffer)
    }
}

/// An upload under way, as the writer sees it.
struct UploadSink: ArchiveSink {
    let upload: any ObjectUpload

    func append(_ bytes: UnsafeRawBufferPointer) throws {
        try upload.append(bytes)
    }
}
