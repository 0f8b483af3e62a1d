internal import Foundation
internal import GRDB

/// Bytes as SQLite keeps them.
struct Blob: DatabaseValueConvertible {
    let bytes: [UInt8]

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// nil for NULL and for what is no blob.
    init?(_ value: DatabaseValue) {
        guard let blob = Self.fromDatabaseValue(value) else { return nil }
        self = blob
    }

    var databaseValue: DatabaseValue { Data(bytes).databaseValue }

    static func fromDatabaseValue(_ value: DatabaseValue) -> Blob? {
        guard case .blob(let data) = value.storage else { return nil }
        return Blob(Array(data))
    }
}

extension Row {
    /// A column's value. GRDB's own subscript traps where a damaged file holds a value of another type; this throws `.corrupt`.
    func value<Value: DatabaseValueConvertible>(_ column: String, as type: Value.Type = Value.self) throws -> Value {
        guard let stored: DatabaseValue = self[column], let value = Value.fromDatabaseValue(stored) else {
            throw CatalogError(.corrupt, "the catalog holds a value of another type in its column \(column)")
        }
        return value
    }
}
