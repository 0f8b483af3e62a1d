internal import CryptoPrimitives
internal import Foundation
internal import SignatureV4
internal import Storage

/// The documents that S3 is sent.
enum S3Documents {
    static func completion(_ parts: [(number: Int, tag: String)]) -> [UInt8] {
        let list = parts.map { part in
            "<Part><PartNumber>\(part.number)</PartNumber><ETag>\"\(escaped(part.tag))\"</ETag></Part>"
        }
        return Array("<CompleteMultipartUpload>\(list.joined())</CompleteMultipartUpload>".utf8)
    }

    static func deletion(_ keys: [ObjectKey]) -> [UInt8] {
        let list = keys.map { "<Object><Key>\(escaped($0.string))</Key></Object>" }
        return Array("<Delete><Quiet>true</Quiet>\(list.joined())</Delete>".utf8)
    }

    /// S3 demands it for `DeleteObjects`, and for objects under a lock.
    static func contentMD5(_ bytes: [UInt8]) -> (name: String, value: String) {
        bytes.withUnsafeBytes { contentMD5($0) }
    }

    static func contentMD5(_ bytes: UnsafeRawBufferPointer) -> (name: String, value: String) {
        ("Content-MD5", Data(MD5.digest(of: bytes)).base64EncodedString())
    }

    /// What makes of a part a copy of a range, which must not be empty, of another object.
    static func copySource(
        _ key: ObjectKey, _ range: Range<UInt64>, bucket: String
    ) -> [(name: String, value: String)] {
        [
            ("x-amz-copy-source", "/" + URIEncoding.path("\(bucket)/\(key.string)")),
            ("x-amz-copy-source-range", "bytes=\(range.lowerBound)-\(range.upperBound - 1)"),
        ]
    }

    /// The entity tag in the answer to a part that was copied. An error may come under a 200, too.
    static func copiedPartTag(_ body: [UInt8]) -> String? {
        guard let document = XMLTree(body), document.name == "CopyPartResult" else { return nil }
        return document["ETag"].map(S3EntityTag.trimmed).flatMap { $0.isEmpty ? nil : $0 }
    }

    private static func escaped(_ text: String) -> String {
        text.replacingOccurrences(of: "&", with: "&amp;").replacingOccurrences(of: "<", with: "&lt;")
            .replacingOccurrences(of: ">", with: "&gt;").replacingOccurrences(of: "\"", with: "&quot;")
    }
}
