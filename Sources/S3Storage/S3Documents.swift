internal import CryptoPrimitives
internal import Foundation
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

    private static func escaped(_ text: String) -> String {
        text.replacingOccurrences(of: "&", with: "&amp;").replacingOccurrences(of: "<", with: "&lt;")
            .replacingOccurrences(of: ">", with: "&gt;").replacingOccurrences(of: "\"", with: "&quot;")
    }
}
