import Configuration

/// The configuration file: text of any kind is either a configuration or a `ConfigurationError`, and its end is not ours.
package func fuzzConfiguration(_ bytes: UnsafeRawBufferPointer) {
    let text = String(decoding: bytes, as: UTF8.self)
    do throws(ConfigurationError) {
        let configuration = try Configuration.parse(text, file: "/etc/holdfast/config.toml")
        check(configuration)
    } catch {
        // toml++ counts a line that has only begun.
        let lineCount = text.utf8.count { $0 == UInt8(ascii: "\n") } + 1
        if let line = error.line { demand((1...lineCount).contains(line), "line \(line) of \(lineCount) is named") }
        demand(error.file == "/etc/holdfast/config.toml", "the file is named")
        demand(error.description.utf8.count <= 64 * text.utf8.count + 65_536, "the message is bounded")
    }
}

/// What the rest of the program relies on.
private func check(_ configuration: Configuration) {
    demand(!configuration.backends.isEmpty, "there is a backend")
    demand(configuration.stateDirectory.hasPrefix("/") && configuration.keysDirectory.hasPrefix("/"), "paths are whole")
    let frame = configuration.archive.frameByteCount
    demand(frame.nonzeroBitCount == 1 && (64 << 10...16 << 20).contains(frame), "the frame size is one of ours")
    demand((1...19).contains(configuration.archive.level), "the level is one of zstd's")
    demand(configuration.memoryBudgetByteCount >= 64 << 20, "the memory budget is enough to work with")
    demand(configuration.cache.diskByteCount >= 0, "the cache has a size")
    for backend in configuration.backends {
        demand(backend.prefix.allSatisfy { $0 != ".." && !$0.isEmpty }, "a prefix stays in its place")
    }
    for org in configuration.orgs {
        demand(
            org.backend == nil || configuration.backends.contains { $0.name == org.backend }, "an org's backend exists")
        let drills = configuration.drills(org: org.name)
        demand(drills.every != nil && drills.firmware != nil, "every setting of drills has a value")
        demand(configuration.status(org: org.name).drill != nil, "every setting of the status has a value")
    }
}
