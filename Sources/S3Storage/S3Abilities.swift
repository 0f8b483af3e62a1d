/// What a server can do beyond the least that every S3 has. It is probed once for each bucket and remembered, never assumed;
/// S3Storage.md says what holdfast does where an ability is missing.
package struct S3Abilities: Sendable, Hashable, Codable {
    package enum Condition: String, Sendable, Hashable, Codable {
        /// As AWS documents it.
        case honoured
        /// The request is carried out as if it had no condition.
        case ignored
        /// The request is refused because it has one.
        case refused
    }

    /// `PUT` with `If-None-Match: *`.
    package var putIfAbsent: Condition
    /// `CompleteMultipartUpload` with `If-None-Match: *`.
    package var completeIfAbsent: Condition
    /// A body other than `x-amz-content-sha256` says is refused.
    package var checksPayloadHash: Bool
    /// The entity tag of an object put at once is the MD5 of its bytes.
    package var entityTagIsMD5: Bool
    /// The entity tag of an object of parts is the MD5 of their MD5s, and their number.
    package var entityTagOfPartsIsMD5: Bool
    /// `GET` with `If-Match`.
    package var getIfMatch: Condition
    /// Listings are sorted by the bytes of the keys.
    package var listsInByteOrder: Bool
    /// The entity tag in the answer to a completion, where there is one, is the object's.
    package var completionTagIsFinal: Bool
    /// `DeleteObjects`.
    package var deletesMany: Bool
    /// `UploadPartCopy` of a range, with an entity tag that is the MD5 of the bytes where tags are MD5s.
    package var copiesParts: Bool
}
