package import CryptoPrimitives
internal import Glibc
package import SystemIO

/// Files of secrets: read into guarded memory only.
package enum SecretFile {
    /// No key file is larger.
    package static let maximumByteCount = 64 << 10

    /// Reads a whole file, or standard input for `-`.
    package static func read(
        _ path: String, maximumByteCount: Int = SecretFile.maximumByteCount
    ) throws(Errno) -> SecretBytes {
        let isStandardInput = path == "-"
        let file =
            try isStandardInput ? OwnedFile(adopting: Errno.check { dup(0) }) : OwnedFile(opening: path, for: .read)
        var count = 0
        var failure: Errno?
        let buffer = SecretBytes(count: maximumByteCount + 1) { output in
            do throws(Errno) {
                while count < output.count {
                    let part = UnsafeMutableRawBufferPointer(rebasing: output[count...])
                    let size = try file.read(into: part)
                    if size == 0 { break }
                    count += size
                }
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        guard count <= maximumByteCount else { throw .fileTooLarge }
        return buffer.withUnsafeBytes { SecretBytes(copying: UnsafeRawBufferPointer(rebasing: $0[..<count])) }
    }

    /// Writes all of it to standard output.
    package static func writeToStandardOutput(_ bytes: UnsafeRawBufferPointer) throws(Errno) {
        let file = OwnedFile(adopting: try Errno.check { dup(1) })
        try file.write(bytes)
    }
}
