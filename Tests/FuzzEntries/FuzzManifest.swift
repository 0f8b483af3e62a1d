import CryptoPrimitives
import Manifest

/// The manifest's JSON: it has one canonical form, which parses to the same, and what was sealed verifies.
package func fuzzManifest(_ bytes: UnsafeRawBufferPointer) {
    let text = Array(bytes)
    do throws(ManifestError) {
        let value = try CanonicalJSONParser.parse(text)
        let canonical = value.bytes
        // A line feed as such is one byte, escaped it is six.
        demand(canonical.count <= 6 * text.count, "the canonical form is bounded")
        demand(try CanonicalJSONParser.parse(canonical) == value, "the canonical form is the same value")
        demand(try CanonicalJSONParser.parse(canonical).bytes == canonical, "there is one canonical form")
        demand(try CanonicalJSONParser.parse(value.prettyBytes) == value, "the form for people is the same value")
        let manifest = try Manifest(unverified: text)
        let sealed = manifest.sealed(with: FuzzKeys.sealKey)
        demand(try Manifest(verifying: sealed, sealKeys: [FuzzKeys.sealKey]) == manifest, "what was sealed verifies")
        checkSeal(sealed)
        try verify(text)
    } catch {
        demand(error.code != .notAuthentic, "who does not ask for a MAC is not refused for it")
        demand(error.detail.utf8.count < 1000, "the message is bounded")
    }
}

/// Any byte of a sealed manifest counts.
private func checkSeal(_ sealed: [UInt8]) {
    var changed = sealed
    guard let digit = changed.lastIndex(where: { (UInt8(ascii: "0")...UInt8(ascii: "8")).contains($0) }) else { return }
    changed[digit] += 1
    do throws(ManifestError) {
        _ = try Manifest(verifying: changed, sealKeys: [FuzzKeys.sealKey])
        fatalError("broken promise: a changed manifest does not verify")
    } catch {
        demand(error.code == .notAuthentic, "a changed manifest is named so")
    }
}

/// A text that is not of our making verifies only with the MAC of its own canonical form.
private func verify(_ text: [UInt8]) throws(ManifestError) {
    let manifest: Manifest
    do throws(ManifestError) {
        manifest = try Manifest(verifying: text, sealKeys: [FuzzKeys.sealKey])
    } catch {
        demand(error.code == .notAuthentic, "what parses without a check is refused by its MAC only")
        return
    }
    demand(try Manifest(unverified: text) == manifest, "both readers read the same")
    guard case .object(var members) = try CanonicalJSONParser.parse(text), case .string(let code)? = members["mac"]
    else { fatalError("broken promise: a manifest without a MAC does not verify") }
    members["mac"] = nil
    let expected = CanonicalJSON.object(members).bytes.withUnsafeBytes {
        HMACSHA256.authenticationCode(for: $0, key: FuzzKeys.sealKey)
    }
    demand(SHA256Digest(hexadecimal: code)?.bytes == expected, "the MAC is the canonical form's")
}
