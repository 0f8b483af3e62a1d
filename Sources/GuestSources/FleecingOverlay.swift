internal import BackupEngine
internal import SystemIO

/// The place for what a guest overwrites while its disk is read: memory without a name, given to QEMU as an empty qcow2 image in a file
/// of a fixed length.
///
/// It cannot grow beyond that length, whatever becomes of us: QEMU then gets ENOSPC, breaks the snapshot, and the guest goes on. It is gone
/// when QEMU and we have closed it.
final class FleecingOverlay {
    /// Where nobody says how much.
    private static let usualByteCount: UInt64 = 1 << 30
    static let smallestByteCount: UInt64 = 16 << 20
    private static let clusterBits: UInt64 = 16
    /// Also the unit in which the filter copies.
    static let clusterByteCount = 1 << Int(clusterBits)
    private static let cluster = UInt64(clusterByteCount)

    let file: OwnedFile
    let byteCount: UInt64

    /// Makes one for an image of `imageByteCount`.
    init(imageByteCount: UInt64, byteCount: UInt64?) throws(EngineError) {
        let header = Self.emptyImage(imageByteCount)
        let wanted = byteCount ?? Self.allowedByteCount
        guard wanted >= UInt64(header.count) + Self.smallestByteCount / 2 else {
            throw EngineError(
                .source, "an overlay of \(wanted >> 20) MiB is too small for a disk of \(imageByteCount >> 30) GiB",
                hint: "overlay=1GiB, for example")
        }
        self.byteCount = wanted / Self.cluster * Self.cluster
        do throws(Errno) {
            file = try OwnedFile.inMemory(named: "holdfast-overlay")
            var failure: Errno?
            header.withUnsafeBytes { bytes in
                do throws(Errno) { try file.write(bytes, at: 0) } catch { failure = error }
            }
            if let failure { throw failure }
            try file.truncate(to: self.byteCount)
        } catch {
            throw EngineError(.source, "there is no memory for what a guest overwrites: \(error)", cause: error)
        }
    }

    /// Whether so little is left that a write of the guest may have found no room.
    var isFull: Bool {
        guard let facts = try? file.facts() else { return false }
        return facts.allocatedByteCount + 16 * Self.cluster >= byteCount
    }

    /// A quarter of what this machine has free, at most 1 GiB (proc_meminfo(5)).
    private static var allowedByteCount: UInt64 {
        let text = (try? readWholeFile("/proc/meminfo", maximumByteCount: 1 << 20)).map {
            String(decoding: $0, as: UTF8.self)
        }
        let line = text?.split(separator: "\n").first { $0.hasPrefix("MemAvailable:") }
        guard let kibibytes = line?.split(separator: " ").dropFirst().first.flatMap({ UInt64($0) }) else {
            return usualByteCount
        }
        return max(smallestByteCount, min(usualByteCount, kibibytes * 256))
    }

    /// An image of the qcow2 format, version 3 (docs/interop/qcow2.txt of QEMU), that holds nothing: the header, one cluster of the
    /// refcount table, one block of refcounts, and the table of level 1.
    ///
    /// All numbers are big-endian. A cluster of the level 2 table maps 8192 clusters, 512 MiB; refcounts have 16 bits, so that one
    /// block counts 32768 clusters, 2 GiB: enough for these first ones.
    static func emptyImage(_ imageByteCount: UInt64) -> [UInt8] {
        let mapped = cluster * (cluster / 8)
        let entries = max(1, (imageByteCount + mapped - 1) / mapped)
        let tableClusters = (entries * 8 + cluster - 1) / cluster
        let clusters = 3 + tableClusters
        var image = [UInt8](repeating: 0, count: Int(clusters * cluster))
        func put<Number: FixedWidthInteger>(_ number: Number, _ offset: UInt64) {
            withUnsafeBytes(of: number.bigEndian) {
                image.replaceSubrange(Int(offset)..<Int(offset) + $0.count, with: $0)
            }
        }
        put(UInt32(0x5146_49fb), 0)  // "QFI" and 0xfb
        put(UInt32(3), 4)
        put(UInt32(clusterBits), 20)
        put(imageByteCount, 24)
        put(UInt32(entries), 36)
        put(3 * cluster, 40)  // the table of level 1
        put(cluster, 48)  // the refcount table
        put(UInt32(1), 56)  // its clusters
        put(UInt32(4), 96)  // refcounts of 2^4 bits
        put(UInt32(104), 100)  // the header's length
        put(2 * cluster, cluster)
        for index in 0..<clusters { put(UInt16(1), 2 * cluster + 2 * index) }
        return image
    }
}
