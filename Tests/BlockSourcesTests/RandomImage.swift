import Foundation
import Glibc

/// A sparse image with pieces of random data, in a file and in memory.
struct RandomImage {
    let path: String
    let bytes: [UInt8]

    /// `byteCount` bytes with `pieces` of data at random places; the seed is printed by who wants to see it again.
    init(_ path: String, byteCount: Int, pieces: Int, seed: UInt64) throws {
        self.path = path
        var state = seed
        func random() -> UInt64 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return state >> 16
        }
        var bytes = [UInt8](repeating: 0, count: byteCount)
        let descriptor = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        defer { close(descriptor) }
        guard descriptor >= 0, ftruncate(descriptor, byteCount) == 0 else { throw POSIXError(.EIO) }
        for _ in 0..<pieces {
            let start = Int(random() % UInt64(byteCount))
            let count = min(byteCount - start, Int(random() % 300_000) + 1)
            var index = start
            while index < start + count {
                bytes[index] = UInt8(truncatingIfNeeded: random())
                index += 1
            }
            let written = bytes[start..<start + count].withUnsafeBytes {
                pwrite(descriptor, $0.baseAddress, $0.count, start)
            }
            guard written == count else { throw POSIXError(.EIO) }
        }
        self.bytes = bytes
    }
}
