/// Why a partition table cannot be used although it is there.
package struct DiskImageError: Error, Hashable, CustomStringConvertible {
    package let detail: String

    package init(detail: String) { self.detail = detail }

    package var description: String { detail }
}
