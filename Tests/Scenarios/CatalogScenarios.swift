import Foundation
import Testing

extension Scenarios {
    @Suite("The catalog, other hosts and losing things", .serialized)
    struct CatalogLosses {
        /// A second host: the same backends and keys, a catalog of its own.
        private func addHost(_ bench: MountBench) throws {
            try bench.run("sed 's/^state_dir.*/state_dir = \"state2\"/' c.toml > c2.toml")
        }

        private func waitFor(_ bench: MountBench, _ test: String, seconds: Int = 20) throws -> Bool {
            try bench.shell("for i in $(seq \(seconds * 10)); do \(test) && exit 0; sleep 0.1; done; exit 1").status
                == 0
        }

        @Test(.timeLimit(.minutes(2)), arguments: BenchPlace.usual)
        func `another host's backup appears in the mount without a remount`(place: BenchPlace) throws {
            let bench = try MountBench(on: place, config: "[catalog]\nrefresh = \"1s\"")
            try addHost(bench)
            _ = try bench.makeImage("a.raw", mebibytes: 5)
            try bench.run("holdfast backup a.raw --org acme --vm web --config c2.toml")
            #expect(try waitFor(bench, "test -e mnt/local/acme/web/latest/disk.raw"))
            try bench.run("cmp mnt/local/acme/web/latest/disk.raw a.raw")
            // A forgery is refused once, and not looked at again.
            let sidecar = try #require(bench.sidecars.first)
            try bench.run("echo no > forged")
            let forged = sidecar.replacingOccurrences(of: "web/", with: "web2/")
            if bench.bucket == nil {
                try bench.run("mkdir -p 'backups/\((forged as NSString).deletingLastPathComponent)'")
            }
            try bench.replace(forged, with: "forged")
            #expect(try waitFor(bench, "grep -q 'refused .*web2' state/holdfast.log"))
            try bench.run("sleep 3; test $(grep -c 'refused .*web2' state/holdfast.log) = 1")
            try bench.run("test ! -e mnt/local/acme/web2")
            // And so by the command.
            let result = try bench.shell("holdfast catalog refresh --config c.toml")
            #expect(result.status == 0 && result.output.contains("1 refused before"), "\(result)")
            try bench.unmount()
        }
    }
}
