import HTTPTransport
import S3Storage
import Storage

/// What a server of S3 answers: each document is read or refused, and nothing that is read is more than was sent.
package func fuzzS3Answer(_ bytes: UnsafeRawBufferPointer) {
    let body = Array(bytes)
    if let document = XMLTree(body) {
        // Another encoding than UTF-8 takes fewer bytes for a character, at least a third.
        demand(textByteCount(document) <= 3 * body.count, "a document holds no more than it says")
        demand(depth(document) <= 16, "a document has a limited depth")
    }
    for start in [S3ListingPage.Start.token("t"), .token(nil), .key("acme/m")] { listing(body, from: start) }
    do throws(S3Failure) {
        let page = try S3UnfinishedUploads(parsing: body)
        demand(page.uploads.count <= body.count / 8, "an upload takes some bytes")
    } catch {
        demand(error.code == .corrupt, "what is no list of uploads is named so")
    }
    for status in [200, 403, 404, 503] {
        let failure = S3Failure(HTTPResponse(status: status, body: body), settings)
        // A log line holds it, and a terminal.
        let message = failure.storageError("subject").description
        demand(message.utf8.count <= 4096, "the message is bounded")
        demand(message.unicodeScalars.allSatisfy { $0.properties.generalCategory != .control }, "the message is a line")
    }
}

private func listing(_ body: [UInt8], from start: S3ListingPage.Start) {
    do throws(S3Failure) {
        let page = try S3ListingPage(parsing: body, prefix: "acme/", from: start)
        demand(
            page.objects.allSatisfy { $0.key.string.utf8.starts(with: "acme/".utf8) }, "a listing keeps to its prefix")
        demand(page.objects.allSatisfy { $0.key.components.allSatisfy { $0 != ".." } }, "a key is one")
        guard page.isTruncated else { return }
        demand(page.token != nil && page.lastKey != nil, "a page that is cut off says where")
        demand(start != .token(page.token), "a listing goes on")
    } catch {
        demand(error.code == .corrupt, "what is no listing is named so")
    }
}

private let settings: S3Settings = {
    guard let endpoint = S3Endpoint("http://127.0.0.1:9000") else {
        preconditionFailure("internal error: an endpoint of our own")
    }
    return S3Settings(name: "fuzz", endpoint: endpoint, bucket: "bucket", region: "region")
}()

private func textByteCount(_ element: XMLTree) -> Int {
    element.children.reduce(element.text.utf8.count) { $0 + textByteCount($1) }
}

private func depth(_ element: XMLTree) -> Int { 1 + (element.children.map(depth).max() ?? 0) }
