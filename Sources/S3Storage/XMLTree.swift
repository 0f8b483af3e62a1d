internal import Foundation
internal import FoundationXML

/// An element of an answer of S3, without its attributes: those documents are small and flat.
struct XMLTree: Sendable {
    let name: String
    private(set) var text = ""
    private(set) var children: [XMLTree] = []

    /// S3's documents are four deep; what is deeper is none.
    private static let depthLimit = 16

    /// nil for what is not a well-formed document. Blanks before it are left out: some servers send them to keep a connection
    /// alive while they assemble an object.
    init?(_ bytes: [UInt8]) {
        let isBlank = { (byte: UInt8) in [9, 10, 13, 32].contains(byte) }
        guard let start = bytes.firstIndex(where: { !isBlank($0) }) else { return nil }
        let reader = Reader()
        let parser = XMLParser(data: Data(bytes[start...]))
        parser.shouldResolveExternalEntities = false
        parser.delegate = reader
        guard parser.parse(), let root = reader.root else { return nil }
        self = root
    }

    private init(name: String) { self.name = name }

    /// The text of the first child of that name.
    subscript(_ name: String) -> String? { children.first { $0.name == name }?.text }

    func all(_ name: String) -> [XMLTree] { children.filter { $0.name == name } }

    func first(_ name: String) -> XMLTree? { children.first { $0.name == name } }

    private final class Reader: NSObject, XMLParserDelegate {
        private var open: [XMLTree] = []
        private(set) var root: XMLTree?

        func parser(
            _ parser: XMLParser, didStartElement name: String, namespaceURI: String?, qualifiedName: String?,
            attributes: [String: String]
        ) {
            guard open.count < XMLTree.depthLimit else { return parser.abortParsing() }
            // A prefix says nothing here: `s3:Key` is `Key`.
            open.append(XMLTree(name: name.split(separator: ":").last.map(String.init) ?? name))
        }

        func parser(_ parser: XMLParser, foundCharacters string: String) {
            if !open.isEmpty { open[open.count - 1].text += string }
        }

        func parser(
            _ parser: XMLParser, didEndElement name: String, namespaceURI: String?, qualifiedName: String?
        ) {
            guard let element = open.popLast() else { return }
            if open.isEmpty { root = element } else { open[open.count - 1].children.append(element) }
        }
    }
}
