internal import BackupNames
internal import SystemIO
internal import TOMLKit

/// A table of the file, whose values are taken out by name and type; each complaint names the file, the line and the key.
struct ConfigurationTable {
    private let table: TOMLTable
    private let names: [String]
    private let file: String
    private let lines: KeyLines

    init(_ table: TOMLTable, path: [String], file: String, lines: KeyLines) {
        self.table = table
        names = path
        self.file = file
        self.lines = lines
    }

    func error(_ code: ConfigurationError.Code, _ key: String, _ detail: String) -> ConfigurationError {
        error(code, at: [key], detail)
    }

    /// About a key of a table below this one.
    func error(_ code: ConfigurationError.Code, at keys: [String], _ detail: String) -> ConfigurationError {
        let full = names + keys
        return ConfigurationError(
            code: code, file: file, line: lines.line(of: full), key: full.joined(separator: "."), detail: detail)
    }

    /// Refuses keys that are not listed.
    func allow(_ keys: Set<String>) throws(ConfigurationError) {
        for key in table.keys.sorted() where !keys.contains(key) {
            throw error(.unknownKey, key, "is not known; known here: \(keys.sorted().joined(separator: ", "))")
        }
    }

    func string(_ key: String) throws(ConfigurationError) -> String {
        guard let value = try optionalString(key) else { throw error(.missingKey, key, "is missing") }
        return value
    }

    func optionalString(_ key: String) throws(ConfigurationError) -> String? {
        guard let value = table[key] else { return nil }
        guard let text = value.string else { throw error(.wrongType, key, "must be a string") }
        return text
    }

    func optionalInteger(_ key: String) throws(ConfigurationError) -> Int? {
        guard let value = table[key] else { return nil }
        guard let number = value.int else { throw error(.wrongType, key, "must be a whole number") }
        return number
    }

    func integer(_ key: String, in range: ClosedRange<Int>) throws(ConfigurationError) -> Int? {
        guard let number = try optionalInteger(key) else { return nil }
        guard range.contains(number) else {
            throw error(.invalidValue, key, "must be \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    func optionalBoolean(_ key: String) throws(ConfigurationError) -> Bool? {
        guard let value = table[key] else { return nil }
        guard let flag = value.bool else { throw error(.wrongType, key, "must be true or false") }
        return flag
    }

    func optionalStrings(_ key: String) throws(ConfigurationError) -> [String]? {
        guard let value = table[key] else { return nil }
        guard let list = value.array else { throw error(.wrongType, key, "must be a list of strings") }
        var strings: [String] = []
        for item in list {
            guard let text = item.string else { throw error(.wrongType, key, "must be a list of strings") }
            strings.append(text)
        }
        return strings
    }

    /// A number as it is written, or a string that is to be one.
    func optionalNumberText(_ key: String) throws(ConfigurationError) -> String? {
        guard let value = table[key] else { return nil }
        if let number = value.int { return "\(number)" }
        // Swift writes the fewest digits that mean the same number: those of the file.
        if let number = value.double { return "\(number)" }
        guard let text = value.string else { throw error(.wrongType, key, "must be a number") }
        return text
    }

    func holdsZero(_ key: String) -> Bool { table[key]?.int == 0 || table[key]?.string == "0" }

    /// As `optionalSize`, but 0 is a size.
    func optionalSizeOrNothing(_ key: String) throws(ConfigurationError) -> Int? {
        if holdsZero(key) { return 0 }
        return try optionalSize(key)
    }

    /// Bytes: a whole number, or a string such as "256MiB" (KiB, MiB, GiB, TiB).
    func optionalSize(_ key: String) throws(ConfigurationError) -> Int? {
        guard let value = table[key] else { return nil }
        if let number = value.int {
            guard number > 0 else { throw error(.invalidValue, key, "must be more than 0 bytes") }
            return number
        }
        guard let text = value.string else { throw error(.wrongType, key, "must be a size such as \"256MiB\"") }
        // A number alone is no string.
        if text.hasSuffix("iB"), let byteCount = SizeText.byteCount(text) { return byteCount }
        throw error(.invalidValue, key, "must be a size such as \"256MiB\"")
    }

    /// The number of a user or group, or its name, which `find` looks up.
    func account(
        _ key: String, _ find: (_ name: String) throws(Errno) -> UInt32?
    ) throws(ConfigurationError) -> UInt32? {
        guard let value = table[key] else { return nil }
        if let number = value.int {
            // The highest one means "none" in chown(2).
            guard let identifier = UInt32(exactly: number), identifier != .max else {
                throw error(.invalidValue, key, "must be 0 to \(UInt32.max - 1)")
            }
            return identifier
        }
        guard let name = value.string else { throw error(.wrongType, key, "must be a number or a name") }
        let found: UInt32?
        do throws(Errno) {
            found = try find(name)
        } catch let cause {
            throw error(.invalidValue, key, "\"\(name)\" cannot be looked up: \(cause)")
        }
        guard let found else { throw error(.invalidValue, key, "this machine knows no \"\(name)\"") }
        return found
    }

    /// Permission bits: a string of octal digits, for the number 750 is 01356.
    func permissions(_ key: String) throws(ConfigurationError) -> UInt32? {
        guard let value = table[key] else { return nil }
        guard let text = value.string else { throw error(.wrongType, key, "must be a string such as \"0750\"") }
        guard (3...4).contains(text.utf8.count), text.utf8.allSatisfy({ (0x30...0x37).contains($0) }),
            let mode = UInt32(text, radix: 8), mode <= 0o777
        else { throw error(.invalidValue, key, "must be octal digits such as \"0750\"") }
        return mode
    }

    /// A path; a relative one is relative to the file's folder.
    func path(_ key: String) throws(ConfigurationError) -> String {
        let path = try string(key)
        guard !path.isEmpty else { throw error(.invalidValue, key, "is empty") }
        if path.hasPrefix("/") { return path }
        let folder = file.lastIndex(of: "/").map { String(file[..<$0]) } ?? "."
        return folder + "/" + path
    }

    func table(_ key: String) throws(ConfigurationError) -> ConfigurationTable? {
        guard let value = table[key] else { return nil }
        guard let inner = value.table else { throw error(.wrongType, key, "must be a table") }
        return ConfigurationTable(inner, path: names + [key], file: file, lines: lines)
    }

    /// The tables `[key.NAME]`, by name.
    func tables(_ key: String) throws(ConfigurationError) -> [(ResourceName, ConfigurationTable)] {
        guard let outer = try table(key) else { return [] }
        var tables: [(ResourceName, ConfigurationTable)] = []
        for name in outer.table.keys.sorted() {
            guard let inner = try outer.table(name) else { continue }
            do throws(NameError) {
                tables.append((try ResourceName(name), inner))
            } catch {
                throw outer.error(.invalidValue, name, error.reason)
            }
        }
        return tables
    }
}

/// Finds the line of a key in the text, for messages only: understands `[table]` headers and `key = …` lines, bare or quoted.
struct KeyLines {
    private var lineNumbers: [[String]: Int] = [:]

    init(_ text: String) {
        var table: [String] = []
        for (index, line) in text.split(
            omittingEmptySubsequences: false, whereSeparator: { $0 == "\n" || $0 == "\r\n" }
        ).enumerated() {
            let trimmed = line.drop { $0 == " " || $0 == "\t" || $0 == "\u{feff}" }
            if trimmed.first == "[" {
                table = Self.keys(trimmed.drop { $0 == "[" }.prefix { $0 != "]" })
                note(table, index + 1)
            } else if trimmed.first != "#", let equals = trimmed.firstIndex(of: "=") {
                note(table + Self.keys(trimmed[..<equals]), index + 1)
            }
        }
    }

    /// nil where the scan did not find it.
    func line(of key: [String]) -> Int? {
        // The innermost part that has a line: for a missing key, its table's.
        for count in stride(from: key.count, to: 0, by: -1) {
            if let line = lineNumbers[Array(key[..<count])] { return line }
        }
        return nil
    }

    private mutating func note(_ key: [String], _ line: Int) {
        if lineNumbers[key] == nil { lineNumbers[key] = line }
    }

    private static func keys(_ text: Substring) -> [String] {
        text.split(separator: ".").map { part in
            String(part.filter { $0 != " " && $0 != "\t" && $0 != "\"" && $0 != "'" })
        }
    }
}
