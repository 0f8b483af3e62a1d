import BackupNames
import Storage
import StorageTesting

/// A store in memory, with as many fake sidecars before its objects as are asked for, which take no memory.
final class CrowdedStore: ObjectStore {
    private static let prefix = "acme/aaa/"
    private static let name = "/disk.manifest.age"
    private static let firstDate: Int64 = 1_000_000
    private static let content = Array("age-encryption.org/v1\nno sidecar\n".utf8)

    private let inner: InMemoryStore
    private let count: Int

    init(_ inner: InMemoryStore, fakeCount: Int) {
        self.inner = inner
        count = fakeCount
    }

    var name: String { inner.name }

    private static func facts(_ index: Int) throws(StorageError) -> ObjectFacts {
        let date = BackupDate(secondsSince1970: firstDate + Int64(index))
        return ObjectFacts(
            key: try ObjectKey("\(prefix)\(date)\(name)"), byteCount: UInt64(content.count), modified: firstDate,
            version: "\(index)")
    }

    private func index(of key: String) -> Int? {
        guard key.hasPrefix(Self.prefix), key.hasSuffix(Self.name) else { return nil }
        let text = key.dropFirst(Self.prefix.count).dropLast(Self.name.count)
        guard let date = try? BackupDate(String(text)) else { return nil }
        let index = date.secondsSince1970 - Self.firstDate
        return (0..<Int64(count)).contains(index) ? Int(index) : nil
    }

    func list(prefix: String, after: String?, limit: Int) throws(StorageError) -> ObjectPage {
        var next = 0
        if let after {
            guard let index = index(of: after) else {
                return try inner.list(prefix: prefix, after: after, limit: limit)
            }
            next = index + 1
        }
        guard next < count else { return try inner.list(prefix: prefix, after: nil, limit: limit) }
        var objects: [ObjectFacts] = []
        for index in next..<min(count, next + limit) { objects.append(try Self.facts(index)) }
        return ObjectPage(objects: objects, next: objects.last?.key.string)
    }

    func head(_ key: ObjectKey) throws(StorageError) -> ObjectFacts {
        if let index = index(of: key.string) { return try Self.facts(index) }
        return try inner.head(key)
    }

    func read(
        _ key: ObjectKey, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer
    ) throws(StorageError) {
        guard index(of: key.string) != nil else { return try inner.read(key, at: offset, into: buffer) }
        guard Int(offset) + buffer.count <= Self.content.count else {
            throw StorageError(.rangeNotSatisfiable, key.string, "the object has \(Self.content.count) bytes")
        }
        buffer.copyBytes(from: Self.content[Int(offset)..<Int(offset) + buffer.count])
    }

    func upload(_ key: ObjectKey) throws(StorageError) -> any ObjectUpload { try inner.upload(key) }
    func abortUpload(identifier: String, key: ObjectKey) throws(StorageError) {
        try inner.abortUpload(identifier: identifier, key: key)
    }
    func delete(_ key: ObjectKey) throws(StorageError) { try inner.delete(key) }
    func putIfAbsent(_ key: ObjectKey, _ bytes: UnsafeRawBufferPointer) throws(StorageError) -> ObjectFacts {
        try inner.putIfAbsent(key, bytes)
    }
    func space() throws(StorageError) -> StorageSpace? { try inner.space() }
    func removeUnfinishedUploads(
        prefix: String, startedBefore: Int64, alive: Set<String>
    ) throws(StorageError) -> [String] {
        try inner.removeUnfinishedUploads(prefix: prefix, startedBefore: startedBefore, alive: alive)
    }
}
