/// What a store knows of an object without reading it.
package struct ObjectFacts: Hashable, Sendable {
    package let key: ObjectKey
    package let byteCount: UInt64
    /// Seconds since 1970, by the store's clock.
    package let modified: Int64
    /// Differs when the object was replaced; opaque otherwise (an entity tag, or inode, time and size).
    package let version: String

    package init(key: ObjectKey, byteCount: UInt64, modified: Int64, version: String) {
        self.key = key
        self.byteCount = byteCount
        self.modified = modified
        self.version = version
    }
}

/// A part of a listing.
package struct ObjectPage: Sendable {
    /// Sorted by the bytes of their keys. May be fewer than asked for, even none, with more to come.
    package let objects: [ObjectFacts]
    /// What to give as `after` for the next page; nil, and only nil, says that the listing is complete.
    package let next: String?

    package init(objects: [ObjectFacts], next: String?) {
        self.objects = objects
        self.next = next
    }
}

/// The room in a store, in bytes.
package struct StorageSpace: Hashable, Sendable {
    package let totalByteCount: UInt64
    package let availableByteCount: UInt64

    package init(totalByteCount: UInt64, availableByteCount: UInt64) {
        self.totalByteCount = totalByteCount
        self.availableByteCount = availableByteCount
    }
}
