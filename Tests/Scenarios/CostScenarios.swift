import Foundation
import TestSupport
import Testing

extension Scenarios {
    /// `holdfast usage` and `holdfast backend list|show|test`, the real program.
    @Suite("Cost and backends", .serialized)
    struct CostAndBackends {
        private static let dead = """
            [backends.dead]
            type = "s3"
            endpoint = "http://127.0.0.1:1"
            bucket = "nowhere"
            region = "eu"
            country = "DE"
            dr = true
            connect_seconds = 2
            patience_seconds = 3
            credentials_file = "none"
            """

        private func withDead() throws -> MountBench {
            let bench = try MountBench(mounts: false, config: Self.dead)
            try bench.run(
                "printf '[default]\\naws_access_key_id = a\\naws_secret_access_key = b\\n' > none; chmod 600 none")
            return bench
        }

        @Test(.timeLimit(.minutes(2)), arguments: BenchPlace.all)
        func `a test measures a backend, leaves nothing, and list and show tell of it`(place: BenchPlace) throws {
            let bench = try MountBench(mounts: false, on: place)
            let tested = try bench.run("holdfast backend test local --size 9MiB --config c.toml")
            #expect(
                tested.contains("result      good") && tested.contains("up  ") && tested.contains("latency"),
                "\(tested)")
            if let bucket = bench.bucket {
                #expect(try bucket.keys().isEmpty && bucket.unfinishedUploads().isEmpty)
            } else {
                #expect(try bench.run("find backups -mindepth 1 -not -name '.*' | wc -l") == "0")
            }
            let json = try bench.run(
                "holdfast backend test local --size 1MiB --json --config c.toml | jq -c '.[0] | [.outcome, (.milliseconds | keys)]'"
            )
            #expect(
                json == "[\"good\",[\"clean\",\"list\",\"look\",\"ranges\",\"reach\",\"read\",\"remove\",\"write\"]]",
                "\(json)")
            let listed = try bench.run("holdfast backend list --config c.toml")
            #expect(listed.contains("usable") && listed.contains("/s") && !listed.contains("never"), "\(listed)")
            let shown = try bench.run("holdfast backend show local --config c.toml")
            #expect(shown.contains("test        20") && shown.contains("tuning      reads at once"), "\(shown)")
            #expect(shown.contains("tuning      part size: 8.0 MiB") == (place != .directory), "\(shown)")
        }

        @Test(.timeLimit(.minutes(1)))
        func `one that is dead is told within its time, by list and by test, which names the step`() throws {
            let bench = try withDead()
            let start = ContinuousClock.now
            let listed = try bench.run(
                "holdfast backend list --json --config c.toml | jq -c '.[] | [.name, .usable, .dr, .country]'")
            #expect(listed == "[\"dead\",false,true,\"DE\"]\n[\"local\",true,false,null]", "\(listed)")
            let tested = try bench.shell("holdfast backend test dead local --config c.toml")
            #expect(ContinuousClock.now - start < .seconds(20))
            #expect(tested.status == 6 && tested.output.contains("the step \"reach\" failed"), "\(tested)")
            #expect(tested.output.contains("result      good"), "the other one is tested all the same: \(tested)")
            let shown = try bench.run("holdfast backend show dead --config c.toml")
            #expect(shown.contains("test        20") && shown.contains("backendUnavailable"), "\(shown)")
            #expect(try bench.shell("holdfast backend test nobody --config c.toml").status == 3)
        }

        @Test(
            .timeLimit(.minutes(1)), .enabled(if: S3Server.Kind.ceph.isInstalled, "Ceph is not installed"))
        func `one that takes connections and says nothing is away when its time is over, and keeps nobody waiting`()
            throws
        {
            let silent = try LabProxy(to: S3Server.shared(.ceph))
            defer { silent.stop() }
            try silent.setNetwork(.dead)
            let bench = try MountBench(
                mounts: false, on: .ceph, through: silent, bucketSettings: "connect_seconds = 120\nstall_seconds = 120",
                config: "[backends.near]\ntype = \"directory\"\npath = \".\"")
            let start = ContinuousClock.now
            let listed = try bench.run(
                "holdfast backend list --timeout 2 --json --config c.toml | jq -c '.[] | [.name, .usable, .problem]'")
            #expect(ContinuousClock.now - start < .seconds(10))
            #expect(listed.contains("[\"near\",true,null]") && listed.contains("no answer within 2 s"), "\(listed)")
        }

        @Test(.timeLimit(.minutes(1)))
        func `a folder that takes nothing fails at the writing, and a test that is killed leaves nothing to the next`()
            throws
        {
            let bench = try MountBench(mounts: false)
            try bench.run(
                "mkdir full && mount -t tmpfs -o size=4M none full && sed -i 's/\"backups\"/\"full\"/' c.toml")
            defer { _ = try? bench.shell("umount full") }
            let tested = try bench.shell("holdfast backend test local --size 16MiB --config c.toml")
            #expect(tested.status == 6 && tested.output.contains("the step \"write\" failed"), "\(tested)")
            #expect(try bench.run("find full -type f | wc -l") == "0")
            try bench.run("sed -i 's/\"full\"/\"backups\"/' c.toml")
            try bench.start("test", "echo $$ > test.pid; exec holdfast backend test local --size 4GiB --config c.toml")
            try bench.run(
                """
                for i in $(seq 200); do [ $(find backups -type f -size +1M | wc -l) -gt 0 ] && break; sleep 0.05; done
                find backups -type f -size +1M | grep -q . && kill -9 $(cat test.pid)
                for i in $(seq 100); do [ -e test.status ] && exit; sleep 0.1; done; exit 1
                """)
            #expect(try bench.run("holdfast backend test local --size 1MiB --config c.toml").contains("good"))
            #expect(try bench.run("find backups -type f | wc -l") == "0")
            // One that is asked to end takes its probe along.
            try bench.start(
                "ended", "echo $$ > ended.pid; exec holdfast backend test local --size 4GiB --config c.toml")
            try bench.run(
                """
                for i in $(seq 200); do [ $(find backups -type f -size +1M | wc -l) -gt 0 ] && break; sleep 0.05; done
                kill -TERM $(cat ended.pid)
                for i in $(seq 100); do [ -e ended.status ] && exit; sleep 0.1; done; exit 1
                """)
            #expect(try bench.run("cat ended.status") == "12")
            #expect(try bench.run("find backups -type f | wc -l") == "0")
        }

        @Test(.timeLimit(.minutes(1)))
        func `usage sums what there is, foretells what will be, and says what minimum days cost`() throws {
            let bench = try MountBench(
                mounts: false,
                config: """
                    [backends.far]
                    type = "directory"
                    path = "far"
                    dr = true
                    minimum_billed_days = 90
                    price = 1000000
                    [prices]
                    backup = 500000
                    [orgs.acme]
                    retention = "basic"
                    """)
            try bench.run("mkdir far")
            _ = try bench.makeImage("a.raw", mebibytes: 8)
            for line in ["web --backend far", "web --backend local", "db --backend far"] {
                try bench.run("holdfast backup a.raw --org acme --vm \(line) --config c.toml")
            }
            let table = try bench.run("holdfast usage --config c.toml")
            #expect(table.contains("acme  db   far") && table.contains("acme  web  local"), "\(table)")
            #expect(table.contains("in 30 days: 7 backups"), "\(table)")
            #expect(table.contains("far bills 90 days at least: 0 backups are gone"), "\(table)")
            let money = try bench.run(
                """
                holdfast usage --json --config c.toml | jq -r '[.backends[], .total] | .[] |
                    [.count, (.eur_per_month | tonumber * 100 | round), .stored_bytes] | @tsv'
                """)
            let rows = money.split(separator: "\n").map { $0.split(separator: "\t").compactMap { Double($0) } }
            #expect(rows.count == 3 && rows.map { $0[0] } == [2, 1, 3], "\(money)")
            // A million euros of a terabyte are a hundred cents of a megabyte.
            #expect(rows[0][1] == (rows[0][2] / 10_000).rounded() && rows[1][1] == (rows[1][2] / 20_000).rounded())
            let web = try bench.run(
                "holdfast usage acme/web --json --config c.toml | jq -c '[.total.count, .orgs[0].org]'")
            #expect(web == "[2,\"acme\"]")
            #expect(!table.contains("in-cluster"))
            try bench.run(
                """
                python3 -c "
                import sqlite3
                catalog = sqlite3.connect('state/catalog.sqlite')
                row = ('fast', 'acme', 'web', '2026-11-20T02-00-00Z', 'disk', 1, '/a', 'reflink', 30 * 10**9, 20 * 10**9, bytes(32))
                catalog.execute('insert into snapshot values (' + ','.join('?' * len(row)) + ')', row)
                catalog.commit()"
                """)
            let copies = try bench.run("holdfast usage --config c.toml | sed '1,/in-cluster copies, not backups/d'")
            #expect(copies.contains("acme  web  fast  1      27.9 GiB  20.0 GB  1.00"), "\(copies)")
            let total = try bench.run(
                "holdfast usage --json --config c.toml | jq -c '[.total.count, .snapshots[0].label]'")
            #expect(total == "[3,\"in-cluster copy, not a backup\"]", "\(total)")
            let prune = try bench.run(
                "holdfast prune --json --dry-run --config c.toml | jq -c '[.backups[].billed_days] | unique'")
            #expect(prune == "[90]", "\(prune)")
        }
    }
}
