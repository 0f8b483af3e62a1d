import Foundation
import TestSupport
import Testing

extension Lab {
    @Suite("Real servers behind the lab", .serialized, .timeLimit(.minutes(3)))
    struct Servers {
        private let folder: TemporaryFolder

        init() throws {
            folder = try TemporaryFolder()
            try Data(LabBench.sample).write(to: URL(fileURLWithPath: folder.path + "/sample"))
        }

        private func curl(_ server: S3Server, _ url: String, _ arguments: [String]) throws -> LabBench.Answer {
            let signed = [
                "--aws-sigv4", "aws:amz:\(server.region):s3", "--user", "\(server.accessKey):\(server.secretKey)",
                "-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD",
            ]
            return try LabBench.curl(url, signed + arguments, folder.path, seconds: 20)
        }

        @Test
        func `in CI the servers are there`() {
            guard ProcessInfo.processInfo.environment["CI"] == "true" else { return }
            #expect(S3Server.Kind.ceph.isInstalled && S3Server.Kind.seaweedfs.isInstalled)
        }

        @Test(arguments: [S3Server.Kind.ceph, .seaweedfs].filter(\.isInstalled))
        func `signatures are valid through the lab, and a range can be changed although it is signed`(
            kind: S3Server.Kind
        ) throws {
            let server = try S3Server.shared(kind)
            let lab = try LabProxy(to: server)
            let bucket = lab.endpoint + "/lab-" + UUID().uuidString.lowercased()
            #expect(try curl(server, bucket, ["-X", "PUT"]).status == 200)
            #expect(try curl(server, bucket + "/a", ["-T", folder.path + "/sample"]).status == 200)
            #expect(try curl(server, bucket + "/a", []).body == LabBench.sample)
            let wrong = try LabBench.curl(bucket + "/a", [], folder.path, seconds: 20)
            #expect(wrong.status == 403)
            try lab.add(FaultRule(.wrongRange(.bytes, by: 8), on: .get))
            let moved = try curl(server, bucket + "/a", ["-H", "Range: bytes=100-199"])
            #expect(moved.status == 206 && moved.body == Array(LabBench.sample[108..<208]))
            try lab.clearRules()
            try lab.add(FaultRule(.ignoreRange, on: .get))
            #expect(try curl(server, bucket + "/a", ["-H", "Range: bytes=100-199"]).body == LabBench.sample)
        }

        @Test(.enabled(if: S3Server.Kind.rclone.isInstalled, "needs rclone-s3: contrib/dependencies servers"))
        func `a server that was killed starts again with its data, and ends with its object`() throws {
            let server = try S3Server(.rclone)
            let object = server.endpoint + "/bucket/a"
            #expect(try curl(server, server.endpoint + "/bucket", ["-X", "PUT"]).status == 200)
            #expect(try curl(server, object, ["-T", folder.path + "/sample"]).status == 200)
            try server.kill()
            #expect(try curl(server, object, []).exit == 7)
            try server.start()
            #expect(try curl(server, object, []).body == LabBench.sample)
            server.end()
            #expect(try curl(server, object, []).exit == 7)
        }

        @Test(.enabled(if: S3Server.Kind.rclone.isInstalled, "needs rclone-s3: contrib/dependencies servers"))
        func `a server whose test process dies while it starts does not stay`() throws {
            let state = folder.path + "/state"
            let keeper = try LineProcess(["bash", Repository.path("Tests/Servers/keep"), "rclone-s3", state])
            // Not waited for: the answer will find nobody.
            #expect(throws: TestSupportError.self) { try keeper.ask("start", seconds: 0) }
            keeper.end()
            #expect(!FileManager.default.fileExists(atPath: state))
        }
    }
}
