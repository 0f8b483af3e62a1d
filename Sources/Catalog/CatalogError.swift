/// What the catalog refuses or cannot do.
package struct CatalogError: Error, CustomStringConvertible {
    package enum Code: String, Sendable, Hashable {
        /// The file cannot be opened, read or written; `cause` says why.
        case unusable
        /// It is no catalog, or SQLite finds it damaged.
        case corrupt
        /// It was made by a later version of holdfast.
        case newerVersion
        /// A backup of that name is registered already.
        case alreadyExists
    }

    package let code: Code
    package let detail: String
    package let cause: (any Error)?

    package init(_ code: Code, _ detail: String, cause: (any Error)? = nil) {
        self.code = code
        self.detail = detail
        self.cause = cause
    }

    package var description: String { detail }
}
