import Foundation
import Glibc
import TestSupport
import Testing

extension StoreScenarios {
    /// Object lock, over a real server: the agent asks for it, and nobody gets around it.
    @Suite("Locked backups", .serialized)
    struct Locks {
        private static let settings = "dr = true\nobject_lock_mode = \"GOVERNANCE\"\nminimum_billed_days = 90"

        private func config(lock: String, daily: Int = 1) -> String {
            """
            [orgs.acme.auto]
            daily = \(daily)
            window = "\(Scenarios.AgentRuns.window)"
            lock = { daily = "\(lock)" }
            [orgs.acme.vms.web.disks.disk]
            source = "a.raw"
            """
        }

        /// Servers that lock: two programs that have nothing in common.
        private static let places = BenchPlace.buckets(.ceph, .seaweedfs)

        /// A clock that is a day late, for those lines that load it.
        private static let yesterday = """
            cat > clock.c <<'END'
            #define _GNU_SOURCE
            #include <time.h>
            #include <unistd.h>
            #include <sys/syscall.h>
            int clock_gettime(clockid_t which, struct timespec *now) {
                int result = syscall(SYS_clock_gettime, which, now);
                if (which == CLOCK_REALTIME) now->tv_sec -= 86400;
                return result;
            }
            time_t time(time_t *now) {
                struct timespec all;
                clock_gettime(CLOCK_REALTIME, &all);
                if (now) *now = all.tv_sec;
                return all.tv_sec;
            }
            END
            clang -shared -fPIC -o clock.so clock.c
            """

        @Test(.timeLimit(.minutes(4)), arguments: Self.places)
        func `the agent's backup is locked: neither prune nor a raw removal gets it, it reads, and goes after its end`(
            place: BenchPlace
        )
            throws
        {
            // Made yesterday for a day and forty seconds.
            let bench = try MountBench(
                mounts: false, on: place, bucketSettings: Self.settings, locks: true,
                config: config(lock: "86440s"))
            let bucket = try #require(bench.bucket)
            _ = try bench.makeImage("a.raw", mebibytes: 12)
            try bench.run(Self.yesterday)
            try bench.run("LD_PRELOAD=$PWD/clock.so holdfast agent --once --config c.toml", seconds: 120)
            let archive = try #require(try bucket.keys().first { $0.hasSuffix(".raw.zst.age") })
            let sidecar = try #require(try bucket.keys().first { $0.hasSuffix(".manifest.age") })
            let listed = try bench.run("holdfast list --json --config c.toml | jq -r '.[].locked_until'")
            #expect(listed.hasPrefix("20") && listed.hasSuffix("Z"), "\(listed)")
            let shown = try bench.run(
                "holdfast show acme/web/latest --config c.toml; holdfast show acme/web/latest --json --config c.toml | jq -r .locked_until"
            )
            #expect(shown.contains("locked until  \(listed)") && shown.hasSuffix(listed), "\(shown)")

            // Today's; retention keeps one.
            try bench.run("holdfast backup a.raw --org acme --vm web --backend local --config c.toml")
            let kept = try bench.run("holdfast prune --explain --config c.toml")
            #expect(kept.contains("locked by its store until") && !kept.contains("removed"), "\(kept)")
            #expect(try !bucket.removeVersion(of: archive) && !bucket.removeVersion(of: sidecar))
            let name = try bench.run("holdfast list --json --config c.toml | jq -r '.[0].backup'")
            try bench.run("holdfast restore '\(name)' out.raw --config c.toml && cmp a.raw out.raw")
            #expect(try bucket.keys().contains(archive))

            try bench.run(
                """
                end=$(echo \(listed) | sed 's/T\\(..\\)-\\(..\\)-/T\\1:\\2:/')
                while [ $(date +%s) -le $(( $(date -ud "$end" +%s) + 1 )) ]; do sleep 1; done
                """, seconds: 100)
            let gone = try bench.run("holdfast prune --config c.toml")
            #expect(gone.contains("removed  \(name)") && gone.contains("billed for 89 more days"), "\(gone)")
            let left = try bucket.versions()
            #expect(!left.contains(archive) && !left.contains(sidecar), "\(left)")
        }

        @Test(.timeLimit(.minutes(2)), arguments: Self.places)
        func `a sidecar that somebody wrote over, or removed by its name, is repaired, and is locked`(place: BenchPlace)
            throws
        {
            let bench = try MountBench(
                mounts: false, on: place, bucketSettings: Self.settings, locks: true, config: config(lock: "7d"))
            let bucket = try #require(bench.bucket)
            _ = try bench.makeImage("a.raw", mebibytes: 2)
            try bench.run("holdfast agent --once --config c.toml")
            let sidecar = try #require(try bucket.keys().first { $0.hasSuffix(".manifest.age") })
            for spoil in [{ try bucket.replace(sidecar, with: [1, 2, 3]) }, { try bucket.remove(sidecar) }] {
                try spoil()
                #expect(try bench.shell("holdfast verify --presence --all --config c.toml").status == 5)
                let repaired = try bench.shell("holdfast verify --presence --all --repair --config c.toml")
                #expect(repaired.status == 0, "\(repaired)")
                #expect(try bench.shell("holdfast verify --all --config c.toml").status == 0)
                #expect(try !bucket.removeVersion(of: sidecar))
            }
        }

        @Test(.timeLimit(.minutes(2)), arguments: Self.places)
        func `a backup that was made by hand is locked by the agent's care, and the mount shows it`(place: BenchPlace)
            throws
        {
            let bench = try MountBench(
                mounts: false, on: place, bucketSettings: Self.settings, locks: true, config: config(lock: "7d"))
            _ = try bench.makeImage("a.raw", mebibytes: 2)
            try bench.run("holdfast agent --once --config c.toml")
            // Of the same second it would be dated a second later, and not be looked at before that.
            try bench.run("sleep 1; holdfast backup a.raw --org acme --vm web --backend local --config c.toml")
            let locked = "holdfast list --json --config c.toml | jq -c 'map(.locked_until != null)'"
            #expect(try bench.run(locked) == "[true,false]")
            let care = try bench.run("holdfast agent --once --config c.toml")
            #expect(try bench.run(locked) == "[true,true]", "\(care)")
            let end = try bench.run("holdfast list --json --config c.toml | jq -r '.[1].locked_until'")
            try bench.startMount()
            #expect(try bench.run("jq -r .locked_until '\(bench.latest)/manifest.json'") == end)
            #expect(
                try bench.run(
                    "python3 -c 'import os; print(os.getxattr(\"\(bench.latest)/disk.raw\", \"user.holdfast.locked_until\").decode())'"
                ) == end)
            try bench.unmount()
        }

        @Test(.timeLimit(.minutes(1)), arguments: Self.places)
        func `where everything is locked for days, a test of the backend hides its probe and says so`(place: BenchPlace)
            throws
        {
            let bench = try MountBench(
                mounts: false, on: place, bucketSettings: Self.settings + "\nobject_lock_days = 1", locks: true)
            let tested = try bench.run("holdfast backend test local --size 6MiB --config c.toml")
            #expect(tested.contains("result      good") && tested.contains("the probe is hidden"), "\(tested)")
            #expect(try #require(bench.bucket).keys().isEmpty)
        }

        @Test(.timeLimit(.minutes(2)), arguments: Self.places)
        func `a bucket that cannot lock gets no backup, and says why`(place: BenchPlace) throws {
            let bench = try MountBench(
                mounts: false, on: place, bucketSettings: Self.settings, config: config(lock: "7d"))
            _ = try bench.makeImage("a.raw", mebibytes: 2)
            let run = try bench.shell("holdfast agent --once --config c.toml")
            #expect(run.status == 6 && run.output.contains("failed  acme/web/disk"), "\(run)")
            #expect(run.output.lowercased().contains("lock"), "\(run)")
            #expect(try bench.run("holdfast list --json --config c.toml | jq -c .") == "[]")
            let archives = try #require(bench.bucket).keys().filter { $0.hasSuffix(".age") && !$0.contains("catalog") }
            #expect(archives.isEmpty, "\(archives)")
        }

        @Test(.timeLimit(.minutes(1)))
        func `a lock at a backend that is no bucket is an error of the configuration`() throws {
            let bench = try MountBench(mounts: false)
            try bench.run("sed -i 's/^path = .*/&\\ndr = true/' c.toml")
            try bench.run("cat >> c.toml <<'END'\n\(config(lock: "7d"))\nEND")
            let run = try bench.shell("holdfast list --config c.toml")
            #expect(run.status == 10 && run.output.contains("orgs.acme.auto.lock"), "\(run)")
        }
    }
}
