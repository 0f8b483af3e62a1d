/// An element of an answer of S3, without its attributes: those documents are small and flat.
package struct XMLTree: Sendable, Equatable {
    package let name: String
    package let text: String
    package let children: [XMLTree]

    /// nil for what is not a well-formed document as ``XMLReader`` takes them. Blanks before it are left out: some servers send
    /// them to keep a connection alive while they assemble an object.
    package init?(_ bytes: [UInt8]) {
        guard let root = XMLReader.read(bytes) else { return nil }
        self = root
    }

    init(name: String, text: String, children: [XMLTree]) {
        self.name = name
        self.text = text
        self.children = children
    }

    /// The text of the first child of that name.
    subscript(_ name: String) -> String? { children.first { $0.name == name }?.text }

    func all(_ name: String) -> [XMLTree] { children.filter { $0.name == name } }

    func first(_ name: String) -> XMLTree? { children.first { $0.name == name } }
}
