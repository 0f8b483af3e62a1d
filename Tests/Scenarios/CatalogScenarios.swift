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

        @Test(.timeLimit(.minutes(2)), arguments: BenchPlace.usual)
        func `commands and the mount copy the catalog, stock programs show a copy, and a lost catalog comes back`(
            place: BenchPlace
        ) throws {
            let bench = try MountBench(on: place)
            _ = try bench.makeImage("a.raw", mebibytes: 5)
            try bench.run("holdfast backup a.raw --org acme --vm web --config c.toml")
            let first = try bench.catalogCopies
            #expect(first.count == 1)
            // What the mount has registered is copied at its unmount at the latest.
            try bench.run("cp a.raw '\(bench.staging)/db.raw'")
            try bench.unmount()
            let newest = try #require(bench.catalogCopies.last)
            #expect(try bench.catalogCopies.count == 2)
            try bench.fetch(newest, as: "copy.age")
            let shown = try bench.run(
                "age -d -i keys/acme.agekey copy.age | zstd -d | jq -r '.type + \" \" + (.disk // .org)'")
            #expect(shown.hasPrefix("holdfast-catalog acme\n"))
            #expect(shown.split(separator: "\n").sorted() == ["backup db", "backup disk", "holdfast-catalog acme"])
            try bench.run("holdfast verify acme/web/latest --config c.toml")
            let before = try bench.run("holdfast list --json --config c.toml")
            // Not even the sidecars are left.
            for sidecar in try bench.sidecars { try bench.removeObject(sidecar) }
            try bench.run("holdfast catalog copy --config c.toml; rm state/catalog.sqlite*")
            let restored = try bench.run("holdfast catalog restore --config c.toml")
            #expect(restored.contains("acme: 2 registered, 0 known, 0 refused, 3 checks and runs"), "\(restored)")
            #expect(try bench.run("holdfast list --json --config c.toml") == before)
            try bench.run("holdfast restore acme/web/latest out.raw --config c.toml && cmp out.raw a.raw")
            // The new catalog has an origin of its own, and made a copy when it restored.
            #expect(try bench.run("holdfast catalog copies --config c.toml | grep -c acme") == "4")
            #expect(try bench.run("holdfast catalog copies --config c.toml | grep -c '(own)'") == "1")
        }

        @Test(.timeLimit(.minutes(2)))
        func `a second backend that is away keeps no backup from ending, and is told`() throws {
            let bench = try MountBench(
                mounts: false,
                config: """
                    [backends.away]
                    type = "s3"
                    endpoint = "http://127.0.0.1:9"
                    bucket = "nothing"
                    region = "nowhere"
                    access_key_env = "AWAY_KEY"
                    secret_key_env = "AWAY_SECRET"
                    """)
            _ = try bench.makeImage("a.raw", mebibytes: 5)
            let start = ContinuousClock.now
            let result = try bench.shell(
                "AWAY_KEY=a AWAY_SECRET=b holdfast backup a.raw --org acme --vm web --backend local --config c.toml")
            #expect(result.status == 0, "\(result)")
            #expect(result.output.contains("away") && result.output.contains("left to the next time"), "\(result)")
            #expect(ContinuousClock.now - start < .seconds(20))
            #expect(try bench.catalogCopies.count == 1)
        }
    }
}
