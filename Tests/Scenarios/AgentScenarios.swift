import Foundation
import Glibc
import Testing

extension Scenarios {
    /// `holdfast agent`: the real program, with real files.
    @Suite("The agent", .serialized)
    struct AgentRuns {
        /// A window that began five hours ago and ends in an hour: every moment in its first three quarters has come.
        static var window: String {
            func clock(_ offset: Int) -> String {
                let minute = ((time(nil) + offset) / 60 % 1440 + 1440) % 1440
                return String(format: "%02d:%02d", minute / 60, minute % 60)
            }
            return "\(clock(-5 * 3600))-\(clock(3600))"
        }

        private func bench(_ config: String, preset: String = "gfs") throws -> MountBench {
            let bench = try MountBench(
                mounts: false,
                config: """
                    [backends.dr]
                    type = "directory"
                    path = "far"
                    dr = true
                    [backends.dr2]
                    type = "directory"
                    path = "farther"
                    dr = true
                    [orgs.acme.auto]
                    preset = "\(preset)"
                    window = "\(Self.window)"
                    backend = "random"
                    \(config)
                    """)
            try bench.run("mkdir far farther")
            return bench
        }

        private static let twoDisks = """
            [orgs.acme.vms.web.disks.disk]
            source = "a.raw"
            [orgs.acme.vms.db.disks.disk]
            source = "b.raw"
            """

        @Test(.timeLimit(.minutes(2)))
        func `once takes what is due, to DR backends, checks it, and takes nothing twice`() throws {
            let bench = try bench(
                Self.twoDisks + """

                    [orgs.acme.vms.gone.disks.disk]
                    source = "absent.raw"
                    """)
            _ = try bench.makeImage("a.raw", mebibytes: 8)
            _ = try bench.makeImage("b.raw", mebibytes: 4)
            let plan = try bench.run(
                "holdfast agent plan --config c.toml --json | jq -r '.[] | .disk + \" \" + .decision'")
            #expect(plan == "acme/db/disk due\nacme/gone/disk due\nacme/web/disk due", "\(plan)")
            // One that fails is told, and keeps nobody else from being backed up.
            let first = try bench.shell("holdfast agent --once --config c.toml")
            #expect(first.status == 7 && first.output.contains("failed  acme/gone/disk"), "\(first)")
            let listed = try bench.run("holdfast list --config c.toml")
            #expect(listed.contains("acme/web") && listed.contains("acme/db") && !listed.contains("local"), "\(listed)")
            #expect(try bench.archives.isEmpty, "nothing goes to a backend that is no DR backend")
            let checks = try bench.run("holdfast show acme/web/latest --config c.toml --json | jq -c '.checks'")
            #expect(checks.contains("presence"), "\(checks)")
            let runs = try bench.run(
                "holdfast agent runs --config c.toml --json | jq -r '.[] | .disk + \" \" + .outcome' | sort")
            #expect(runs == "acme/db/disk good\nacme/gone/disk source\nacme/web/disk good", "\(runs)")

            let second = try bench.shell("holdfast agent --once --config c.toml")
            #expect(second.status == 0 && second.output.contains("nothing is due now"), "\(second)")
            let waits = try bench.run("holdfast agent plan --config c.toml --json | jq -r '.[].decision'")
            #expect(waits == "done\nwaits after a failure\ndone", "\(waits)")
            try bench.run("holdfast restore acme/web/latest out.raw --config c.toml && cmp a.raw out.raw")
        }

        @Test(.timeLimit(.minutes(2)))
        func `two hosts that begin at the same moment take each disk once, and retention is one`() throws {
            let disks = (0..<8).map { "[orgs.acme.vms.vm\($0).disks.disk]\nsource = \"\($0).raw\"" }
            let bench = try bench(
                "[agent]\nshared = \"dr\"\nmax_concurrent = 3\n" + disks.joined(separator: "\n"), preset: "basic")
            for disk in 0..<8 { _ = try bench.makeImage("\(disk).raw", mebibytes: 4) }
            // Another host: a catalog of its own; the same disks, keys and backends.
            try bench.run("sed 's|^state_dir = .*|state_dir = \"other\"|' c.toml > d.toml; mkdir -m 700 other")
            let ends = try bench.run(
                """
                holdfast agent --once --config c.toml > one.txt 2>&1 & p=$!
                holdfast agent --once --config d.toml > two.txt 2>&1 & q=$!
                wait $p; a=$?; wait $q; echo $a $?
                """, seconds: 60)
            let told = try bench.run("cat one.txt two.txt")
            #expect(ends == "0 0", "\(told)")
            let archives = "find far farther -name '*.zst.age' | sed 's|.*/\\(vm.\\)/.*|\\1|' | sort"
            #expect(try bench.run("\(archives) | uniq -d") == "", "a disk that was taken twice")
            // Of two who come at once both may go without.
            for config in ["c.toml", "d.toml"] { try bench.run("holdfast agent --once --config \(config)") }
            #expect(try bench.run("\(archives) | xargs") == "vm0 vm1 vm2 vm3 vm4 vm5 vm6 vm7")
            #expect(try bench.run("find far farther -path '*/.leases/*' -type f | wc -l") == "0")
            // What one host has made the other sees, and plans with.
            for config in ["c.toml", "d.toml"] {
                #expect(try bench.run("holdfast list --config \(config) --json | jq length") == "8")
                let decisions = try bench.run(
                    "holdfast agent plan --config \(config) --json | jq -r '.[].decision' | sort -u")
                #expect(decisions == "done")
            }
        }

        @Test(.timeLimit(.minutes(2)))
        func `it goes on until it is told to end, alone with its catalog, and what it has to give up is not left`()
            throws
        {
            let bench = try bench(
                """
                [orgs.acme.vms.web.disks.disk]
                source = "slow"
                format = "raw"
                """)
            // A source that never ends.
            try bench.run("mkfifo slow")
            try bench.start("writer", "while head -c 1M /dev/urandom; do sleep 0.05; done > slow")
            try bench.start("agent", "echo $$ > agent.pid; exec holdfast agent --config c.toml")
            let running = "holdfast agent runs --config c.toml --json | jq -r '.[0].outcome'"
            try bench.run("for i in $(seq 100); do [ \"$(\(running))\" = running ] && exit; sleep 0.1; done; exit 1")
            let other = try bench.shell("holdfast agent --once --config c.toml")
            #expect(other.status == 12 && other.output.contains("another agent"), "\(other)")
            try bench.run(
                "kill -TERM $(cat agent.pid); for i in $(seq 100); do [ -e agent.status ] && exit; sleep 0.1; done; exit 1"
            )
            #expect(try bench.run("cat agent.status") == "0")
            #expect(try bench.run(running) == "cancelled")
            #expect(try bench.run("find far farther -type f | wc -l") == "0")
            #expect(try bench.run("holdfast list --config c.toml --json | jq -c .") == "[]")
        }

        @Test(.timeLimit(.minutes(2)))
        func `a run whose agent was killed is told, its upload is removed, and the next one is a new run`() throws {
            let bench = try bench(Self.twoDisks, preset: "basic")
            try bench.run("mkfifo a.raw; truncate -s 4M b.raw")
            try bench.start("writer", "while head -c 1M /dev/urandom; do sleep 0.05; done > a.raw")
            try bench.start("agent", "echo $$ > agent.pid; exec holdfast agent --config c.toml")
            let outcome = "holdfast agent runs acme/web --config c.toml --json | jq -r '.[0].outcome'"
            // The other disk's run has ended when the agent is killed in the middle of this one's.
            let both =
                "holdfast agent runs --config c.toml --json | jq -r '.[] | .disk + \" \" + .outcome' | sort | xargs"
            try bench.run(
                """
                for i in $(seq 200); do
                    [ "$(\(both))" = "acme/db/disk good acme/web/disk running" ] && exit; sleep 0.1
                done; exit 1
                """)
            try bench.run(
                "kill -9 $(cat agent.pid); for i in $(seq 100); do [ -e agent.status ] && exit; sleep 0.1; done; exit 1"
            )
            try bench.run("rm a.raw; truncate -s 2M a.raw")
            _ = try bench.shell("holdfast agent --once --config c.toml")
            #expect(try bench.run(outcome) == "interrupted", "it waits five minutes after a failure")
            #expect(
                try bench.run("find far farther -type f | grep -vc catalog") == "2",
                "the other disk's archive and sidecar")
        }
    }
}
