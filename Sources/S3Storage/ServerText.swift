/// What a server says, as it goes into messages: for a log and a terminal.
enum ServerText {
    /// Error messages of S3 are a sentence.
    private static let scalarLimit = 300

    /// One line of at most some hundred characters: none ends the line, moves the cursor, or turns the text round.
    static func line(_ text: String) -> String {
        var line = String.UnicodeScalarView()
        for scalar in text.unicodeScalars.prefix(scalarLimit) {
            switch scalar.properties.generalCategory {
            case .control, .format, .lineSeparator, .paragraphSeparator: line.append(" ")
            default: line.append(scalar)
            }
        }
        return String(line) + (text.unicodeScalars.count > scalarLimit ? "…" : "")
    }
}
