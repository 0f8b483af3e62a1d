/// What a manifest or a sidecar is refused for.
package struct ManifestError: Error, Hashable, CustomStringConvertible {
    package enum Code: String, Sendable, Hashable {
        /// Not the JSON that a manifest is.
        case malformed
        /// Its MAC does not fit: changed, or made without the org's key.
        case notAuthentic
        /// A later version than this program knows.
        case unsupportedVersion
    }

    package let code: Code
    package let detail: String

    package init(_ code: Code, _ detail: String) {
        self.code = code
        self.detail = detail
    }

    package var description: String { detail }
}
