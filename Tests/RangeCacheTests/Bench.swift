import Archive
import Glibc
import Logging
import RangeCache
import Synchronization
import SystemIO
import Testing
import Workers

@testable import RangeCache

/// A folder of one test, removed with all that is in it.
final class TestFolder: Sendable {
    let path = "/tmp/holdfast-cache-" + String(UInt64.random(in: .min ... .max), radix: 16)

    init() { mkdir(path, 0o700) }

    deinit { Self.remove(path) }

    static func remove(_ path: String) {
        for entry in (try? Folder.entries(of: path)) ?? [] {
            let inner = path + "/" + (entry.name ?? "")
            if entry.kind == .directory { remove(inner) } else { unlink(inner) }
        }
        rmdir(path)
    }

    var cache: String { path + "/cache" }
    var data: String { cache + "/v1/data" }
    var index: String { cache + "/v1/index" }

    /// What all files of the cache take of the file system.
    var allocatedByteCount: UInt64 {
        ["data", "index", "lock"].reduce(into: UInt64(0)) { sum, name in
            sum += (try? FileFacts.of(cache + "/v1/" + name).allocatedByteCount) ?? 0
        }
    }

    /// Changes bytes of a file.
    func garble(_ file: String, at offset: UInt64, _ change: (UInt8) -> UInt8) throws {
        let file = try OwnedFile(opening: file, for: .readWrite)
        let byte = UnsafeMutableRawBufferPointer.allocate(byteCount: 1, alignment: 1)
        defer { byte.deallocate() }
        byte[0] = 0
        _ = try file.read(at: offset, into: byte)
        byte[0] = change(byte[0])
        try file.write(UnsafeRawBufferPointer(byte), at: offset)
    }
}

/// An archive of random bytes that counts what is asked of it.
final class ModelArchive: ArchiveSource {
    let bytes: [UInt8]
    let requests = Mutex<[Range<UInt64>]>([])
    private let garbles = Mutex<Set<Int>>([])

    init(byteCount: Int, seed: UInt64 = .random(in: 1 ... .max)) {
        var state = seed | 1
        bytes = (0..<byteCount / 8 + 1).flatMap { _ in
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            return withUnsafeBytes(of: state) { Array($0) }
        }.prefix(byteCount).map { $0 }
    }

    var byteCount: UInt64 { UInt64(bytes.count) }

    func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws {
        requests.withLock { $0.append(offset..<offset + UInt64(buffer.count)) }
        bytes.withUnsafeBytes { bytes in
            buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[Int(offset)..<Int(offset) + buffer.count]))
        }
        for place in garbles.withLock({ $0 }) where (Int(offset)..<Int(offset) + buffer.count).contains(place) {
            buffer[place - Int(offset)] ^= 0xff
        }
    }

    /// From now on this byte comes wrong (or right again).
    func garble(_ place: Int?) { garbles.withLock { $0 = place.map { [$0] } ?? [] } }

    var requestCount: Int { requests.withLock { $0.count } }
}

extension ArchiveSource {
    func bytes(_ range: Range<Int>) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0xee, count: range.count)
        try bytes.withUnsafeMutableBytes { try read(at: UInt64(range.lowerBound), into: $0) }
        return bytes
    }
}

/// The names of archives.
func identity(_ number: UInt8) -> [UInt8] { [UInt8](repeating: number, count: 32) }

let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

/// Numbers from a seed that the test prints.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64
    let seed: UInt64

    init(_ seed: UInt64 = .random(in: 1 ... .max)) {
        self.seed = seed
        state = seed
    }

    /// splitmix64.
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

let block = CacheGeometry.blockByteCount

/// A cache with no floor that has opened its files.
func openCache(
    _ folder: TestFolder, capacity: Int = 16 << 20, floor: UInt64 = 0, timeout: Int = 5000, retry: Int = 50,
    wrap: @escaping @Sendable (any CacheDisk) -> any CacheDisk = { $0 }
) -> RangeCache {
    var settings = RangeStore.Settings()
    settings.freeSpaceFloorByteCount = floor
    settings.readTimeoutMilliseconds = timeout
    settings.retryMilliseconds = retry
    settings.maintenanceMilliseconds = 20
    let cache = RangeCache(
        path: folder.cache, capacityByteCount: UInt64(capacity), settings: settings, log: quiet, wrap: wrap)
    #expect(cache.waitUntilOpened(milliseconds: 10_000))
    return cache
}

extension RangeCache {
    func settle() { #expect(waitUntilIdle(milliseconds: 20_000)) }

    /// Waits until the cache is in this state.
    func reaches(_ state: RangeCacheStatus.State, milliseconds: Int = 5000) -> Bool {
        for _ in 0..<milliseconds / 5 {
            if status.state == state { return true }
            usleep(5000)
        }
        return false
    }
}
