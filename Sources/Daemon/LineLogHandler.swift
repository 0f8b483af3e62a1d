internal import Glibc
package import Logging

/// Writes one line for each message to a file descriptor: standard error, or the daemon's log file.
///
/// Lines are whole: each is one write(2). Under systemd (a journal stream) the time is left to the journal.
package struct LineLogHandler: LogHandler {
    package var metadata: Logger.Metadata = [:]
    package var logLevel: Logger.Level
    private let descriptor: Int32
    private let showsTime: Bool

    package init(descriptor: Int32, level: Logger.Level, showsTime: Bool) {
        self.descriptor = descriptor
        logLevel = level
        self.showsTime = showsTime
    }

    package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    package func log(event: LogEvent) {
        let time = showsTime ? Self.time + " " : ""
        let line = "\(time)\(event.level): \(event.message)\n"
        let bytes = Array(line.utf8)
        _ = bytes.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
    }

    private static var time: String {
        var now = Glibc.time(nil)
        var parts = tm()
        gmtime_r(&now, &parts)
        var text = [CChar](repeating: 0, count: 32)
        strftime(&text, text.count, "%Y-%m-%dT%H:%M:%SZ", &parts)
        return text.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
    }
}
