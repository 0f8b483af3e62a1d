import BackupNames
import CryptoPrimitives
import Manifest

extension Manifest {
    /// Made-up facts that use every member.
    static func sample() throws -> Manifest {
        var manifest = Manifest(
            identifier: BackupIdentifier(
                backend: try ResourceName("local"), org: try ResourceName("acme"), vm: try ResourceName("web01"),
                date: try BackupDate("2026-11-20T02-00-00Z"), disk: try ResourceName("disk")),
            createdAt: 1_795_140_000, region: "eu-1", country: "NL", rawByteCount: 1 << 30,
            rawSHA256: SHA256Digest.digest("raw"), archiveByteCount: 123_456_789,
            archiveSHA256: SHA256Digest.digest("archive"), headerSHA256: SHA256Digest.digest("header"),
            seekTableSHA256: SHA256Digest.digest("seek table"), frameByteCount: 1 << 20, zstdLevel: 3,
            recipients: ["age1one", "age1two"], consistency: "none", toolVersion: "holdfast 0.1",
            uploadMilliseconds: 4321,
            partitions: [
                ManifestPartition(
                    number: 1, rawOffset: 1 << 20, byteCount: 1 << 29, type: "0x83",
                    name: "a \"name\" \\ with\n\u{1} é 日本 /"),
                ManifestPartition(number: 5, rawOffset: 1 << 29, byteCount: 512, type: "0x82", name: ""),
            ], generation: 531_204)
        manifest.archiveObject = "old/web.zst.age"
        manifest.dataByteCount = 1 << 28
        return manifest
    }
}

extension SHA256Digest {
    static func digest(_ text: String) -> SHA256Digest { SHA256Hasher.digest(of: Array(text.utf8)) }
}

extension SecretBytes {
    convenience init(_ bytes: [UInt8]) {
        self.init(count: bytes.count) { $0.copyBytes(from: bytes) }
    }
}

/// The MAC as the format page describes it, by other means than the module's: text that is already canonical.
func authenticationCode(ofCanonical text: String, _ sealKey: SecretBytes) -> String {
    let code = Array(text.utf8).withUnsafeBytes { HMACSHA256.authenticationCode(for: $0, key: sealKey) }
    return code.withUnsafeBytes { SHA256Digest($0) }.hexadecimal
}
