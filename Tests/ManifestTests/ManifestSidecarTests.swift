import AgeFormat
import Manifest
import Testing

@Suite("Manifest sidecar")
struct ManifestSidecarTests {
    @Test func `a sidecar opens with each recipient's identity and no other`() throws {
        let (first, second) = (AgeIdentity.generate(), AgeIdentity.generate())
        let sealed = Array("a sealed manifest".utf8)
        let sidecar = try ManifestSidecar.encrypt(sealed, to: [first.recipient.string, second.recipient.string])
        #expect(try ManifestSidecar.decrypt(sidecar, identities: [first]) == sealed)
        #expect(try ManifestSidecar.decrypt(sidecar, identities: [second]) == sealed)
        #expect(throws: AgeError.self) { try ManifestSidecar.decrypt(sidecar, identities: [.generate()]) }
    }

    @Test func `a recipient that is none is refused`() {
        #expect(throws: AgeError.self) { try ManifestSidecar.encrypt([1], to: ["age1nonsense"]) }
    }

    @Test func `a sidecar with a flipped bit anywhere is refused`() throws {
        let identity = AgeIdentity.generate()
        let sidecar = try ManifestSidecar.encrypt(Array("a sealed manifest".utf8), to: [identity.recipient.string])
        for index in sidecar.indices {
            var changed = sidecar
            changed[index] ^= 1 << UInt8.random(in: 0..<8)
            #expect(throws: AgeError.self, "byte \(index)") {
                try ManifestSidecar.decrypt(changed, identities: [identity])
            }
        }
    }

    @Test func `a sidecar larger than any manifest is refused`() throws {
        let identity = AgeIdentity.generate()
        let recipients = [identity.recipient.string]
        let largest = [UInt8](repeating: 32, count: ManifestSidecar.maximumByteCount)
        #expect(
            try ManifestSidecar.decrypt(ManifestSidecar.encrypt(largest, to: recipients), identities: [identity])
                == largest)
        let sidecar = try ManifestSidecar.encrypt(largest + [32], to: recipients)
        #expect(throws: AgeError.self) { try ManifestSidecar.decrypt(sidecar, identities: [identity]) }
    }
}
