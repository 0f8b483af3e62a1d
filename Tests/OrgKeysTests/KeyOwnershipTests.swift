import BackupNames
import Foundation
import Glibc
import OrgKeys
import Testing

@Suite("Key files that others could have put there", .timeLimit(.minutes(1)))
struct KeyOwnershipTests {
    private let folder: TemporaryFolder
    private let directory: KeyDirectory
    private let acme: ResourceName

    init() throws {
        folder = try TemporaryFolder()
        directory = KeyDirectory(path: folder.path + "/keys")
        acme = try ResourceName("acme")
        _ = try directory.create(acme, createdAt: "2026-11-20T02:00:00Z")
    }

    private func isRefused() throws -> Bool {
        do throws(KeyError) {
            _ = try directory.key(for: acme)
            return false
        } catch {
            guard error.code == .insecureMode else { throw error }
            return true
        }
    }

    @Test(arguments: [0o770, 0o707, 0o720, 0o702, 0o1777])
    func `a folder that others may write to is refused`(mode: Int) throws {
        #expect(try !isRefused())
        #expect(chmod(directory.path, mode_t(mode)) == 0)
        #expect(try isRefused())
        #expect(chmod(directory.path, 0o755) == 0)
        #expect(try !isRefused(), "that others see the names of the files is no harm")
    }
}
