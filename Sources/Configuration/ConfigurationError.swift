/// What is wrong with the configuration: names the file, and the line and key where there is one.
package struct ConfigurationError: Error, Hashable, CustomStringConvertible {
    package enum Code: String, Sendable, Hashable {
        case unreadable
        /// Not TOML.
        case syntax
        case unknownKey
        case missingKey
        case wrongType
        case invalidValue
    }

    package let code: Code
    package let file: String
    package let line: Int?
    package let key: String?
    package let detail: String

    package var description: String {
        let place = line.map { ":\($0)" } ?? ""
        let subject = key.map { " \"\($0)\"" } ?? ""
        return "\(file)\(place):\(subject) \(detail)"
    }
}
