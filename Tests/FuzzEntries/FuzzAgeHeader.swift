import AgeFormat
import CryptoPrimitives

/// The age header: what is parsed ends inside the input, and the same bytes are the same header whatever follows them.
package func fuzzAgeHeader(_ bytes: UnsafeRawBufferPointer) {
    do throws(AgeError) {
        guard let header = try AgeHeader.parse(prefix: bytes) else {
            demand(bytes.count < AgeHeader.maximumByteCount, "a header that is too long is refused")
            return
        }
        demand(
            (1...min(bytes.count, AgeHeader.maximumByteCount)).contains(header.byteCount), "the header's end is inside")
        demand(bytes[header.byteCount - 1] == UInt8(ascii: "\n"), "a header ends with a line")
        let whole = UnsafeRawBufferPointer(rebasing: bytes[..<header.byteCount])
        demand(
            try AgeHeader.parse(prefix: whole)?.byteCount == header.byteCount, "what follows a header does not matter")
        let cut = UnsafeRawBufferPointer(rebasing: whole.dropLast())
        demand(try AgeHeader.parse(prefix: cut) == nil, "a header without its end is not finished")
        do throws(AgeError) {
            let key = try header.fileKey(identities: [FuzzKeys.identity])
            demand(key.count == 16, "a file key has 16 bytes")
        } catch {
            demand(error.code != .payload && error.code != .recipient, "a header's error is about the header")
        }
    } catch {
        demand(error.code == .header, "what is no header is named so")
        demand((error.archiveOffset ?? 0) <= UInt64(bytes.count), "the error's place is inside")
    }
}
