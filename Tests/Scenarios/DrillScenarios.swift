import Foundation
import Testing

extension Scenarios {
    @Suite("Drills and status", .serialized)
    struct Drills {
        /// `holdfast status` and its exit code.
        private func status(_ bench: MountBench, _ arguments: String = "") throws -> ShellResult {
            try bench.shell("holdfast status --config c.toml \(arguments)")
        }

        @Test(.timeLimit(.minutes(2)))
        func `a disk goes from overdue to drilled to failed, and command, mount and exit code agree`() throws {
            let bench = try MountBench(config: "[orgs.acme]\n[orgs.forgotten]")
            let empty = try status(bench)
            #expect(empty.status == 20 && empty.output.contains("forgotten"), "\(empty)")
            _ = try bench.makeImage("a.raw", mebibytes: 8)
            try bench.run("cp a.raw '\(bench.staging)/disk.raw'")
            let fresh = try status(bench, "acme")
            #expect(fresh.status == 20 && fresh.output.contains("overdue: verify, drill"), "\(fresh)")
            #expect(fresh.output.contains("unknown"), "\(fresh)")

            let drill = try bench.run("holdfast drill --due --config c.toml")
            #expect(drill.contains("result      good"), "\(drill)")
            #expect(try bench.run("holdfast drill --due --config c.toml") == "no drill is due")
            let good = try status(bench, "acme/web")
            #expect(good.status == 0 && good.output.contains("measured"), "\(good)")

            // The same facts, but for the ages: RPO is told to the second.
            let facts = "del(.rpo_seconds) | del(.places[].rpo_seconds)"
            let said = try bench.shell("holdfast status --json --config c.toml | jq -S '.resources[0] | \(facts)'")
            let mounted = try bench.run("jq -S '.resources[0] | \(facts)' mnt/status.json")
            #expect(said.output == mounted && said.output.contains("\"rto_source\": \"measured\""), "\(said)")
            #expect(try bench.run("jq -r '.orgs_without_backup[]' mnt/status.json") == "forgotten")
            let metrics = "grep -E '^holdfast_disk_(rto|overdue|last_drill)' | sort"
            let printed = try bench.shell("holdfast status --prometheus --config c.toml | \(metrics)").output
            #expect(try printed == bench.run("cat mnt/metrics.prom | \(metrics)") && printed.contains("measured"))

            // Damage behind everybody's back: the next drill finds it, and its exit code is that of damage.
            let key = try #require(try bench.archives.first)
            try bench.run(
                "printf x | dd of='backups/\(key)' bs=1 seek=$(($(stat -c %s 'backups/\(key)') / 2)) conv=notrunc")
            let failed = try bench.shell("holdfast drill acme/web/latest --config c.toml")
            #expect(failed.status == 5 && failed.output.contains("result      damaged"), "\(failed)")
            let bad = try status(bench, "acme")
            #expect(bad.status == 21 && bad.output.contains("FAILED"), "\(bad)")
            #expect(try bench.run("jq -r '.resources[0].failures | length' mnt/status.json") == "2")
            #expect(try bench.run("jq -r '.resources[0].rpo_seconds' mnt/status.json") == "null", "no good backup")
        }

        @Test(.timeLimit(.minutes(1)))
        func `a restore makes the RTO an estimate, and what cannot be asked for is said`() throws {
            let bench = try MountBench(mounts: false)
            _ = try bench.makeImage("a.raw", mebibytes: 4)
            try bench.run("holdfast backup a.raw --org acme --vm web --config c.toml")
            try bench.run("holdfast restore acme/web/latest out.raw --config c.toml")
            #expect(try status(bench).output.contains("estimated"))
            for (arguments, code) in [
                ("", 64), ("acme/web/latest --due", 64), ("--due --limit 0", 64), ("--due --scratch .", 64),
                ("--due --scratch . --cap 1GB", 64), ("acme/db/latest", 3), ("--org nobody", 3),
                ("--due --scratch absent --cap 1GiB", 8), ("--due --scratch . --cap 1MiB", 8),
            ] {
                let result = try bench.shell("holdfast drill \(arguments) --config c.toml")
                #expect(result.status == code && result.output.contains("rror: "), "\(arguments): \(result)")
            }
            #expect(try status(bench, "nobody").status == 3)
        }

        @Test(.timeLimit(.minutes(1)))
        func `a drill that is killed leaves nothing in its scratch folder`() throws {
            let bench = try MountBench(mounts: false)
            _ = try bench.makeImage("a.raw", mebibytes: 256)
            try bench.run("holdfast backup a.raw --org acme --vm web --config c.toml; mkdir scratch")
            var wasBusy = false
            for round in 0..<4 {
                let killed = try bench.shell(
                    "timeout -s KILL \(0.1 + Double(round) * 0.05) holdfast drill --org acme --scratch scratch --cap 1GiB --config c.toml"
                )
                // By the signal, or as timeout(1) tells of it.
                wasBusy = wasBusy || killed.status != 0
                #expect(try bench.run("ls -A scratch") == "")
            }
            #expect(wasBusy, "no drill was killed")
            try bench.run("holdfast drill --org acme --scratch scratch --cap 1GiB --config c.toml")
            #expect(try bench.run("ls -A scratch") == "")
        }
    }
}
