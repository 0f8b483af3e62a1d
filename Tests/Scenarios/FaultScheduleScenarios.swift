import Foundation
import Synchronization
import TestSupport
import Testing
import Workers

extension StoreScenarios {
    /// Random faults, several at once, from seeds. HOLDFAST_SEED=n or n-m runs those; HOLDFAST_NIGHTLY=1 runs 2,000.
    @Suite("Random faults, over S3", .serialized)
    struct FaultSchedules {
        /// A mount serves this many seeds, one after another.
        private static let seedsOfAMount = 10
        private static let lanes = 4
        private static let limitSeconds = 60
        private static let settings = """
            connect_seconds = 1
            stall_seconds = 1
            patience_seconds = 5
            connections = 16
            upload = { part_size = "5MiB", patience_seconds = 8 }
            """

        private static var seeds: [UInt64] {
            let environment = ProcessInfo.processInfo.environment
            let named = (environment["HOLDFAST_SEED"] ?? "").split(separator: "-").compactMap { UInt64($0) }
            if let first = named.first, let last = named.last, first <= last { return Array(first...last) }
            return Array(1...(environment["HOLDFAST_NIGHTLY"] == "1" ? 2000 : 100))
        }

        @Test(.timeLimit(.minutes(180)))
        func `whatever happens, a backup is whole or refused, a read right or an error, and it all goes on`() throws {
            let groups = Self.seeds.chunks(of: Self.seedsOfAMount)
            let next = Mutex(0)
            let done = Monitor(0)
            for lane in 0..<Self.lanes {
                NativeThread(name: "lane \(lane)") {
                    while true {
                        let index = next.withLock { value in
                            value += 1
                            return value - 1
                        }
                        guard index < groups.count else { break }
                        do {
                            try Self.run(groups[index])
                        } catch {
                            Self.blame(groups[index], "\(error)")
                        }
                    }
                    done.withLock { $0 += 1 }
                }.detach()
            }
            done.wait { $0 == Self.lanes ? () : nil }
            let failures = Self.failures.withLock { $0 }
            #expect(failures.isEmpty, "\(failures.joined(separator: "\n"))")
        }

        /// Threads of ours are not the test's task: what they find is kept, and told at the end.
        private static let failures = Mutex<[String]>([])

        private static func blame(_ seeds: [UInt64], _ what: String) {
            let last = seeds.count > 1 ? "-\(seeds[seeds.count - 1])" : ""
            let line = "HOLDFAST_SEED=\(seeds.first ?? 0)\(last): \(what)"
            print(line)
            failures.withLock { $0.append(line) }
        }

        private static func run(_ seeds: [UInt64]) throws {
            guard let first = seeds.first else { return }
            let lab = try LabProxy(to: S3Server.shared(.ceph), seed: first)
            defer { lab.stop() }
            let bench = try MountBench(on: .ceph, through: lab, bucketSettings: settings)
            var registered = 0
            var filesBefore: Int?
            for seed in seeds {
                let schedule = FaultSchedule(seed: seed)
                let problems = try run(schedule, bench, lab, &registered)
                for problem in problems { blame([seed], "\(problem)\n  \(schedule)") }
                // The first workload opens what stays open.
                let files = try bench.openFiles
                if let filesBefore, files > filesBefore + 2 {
                    blame([seed], "the daemon has \(files) files open, it had \(filesBefore)")
                }
                filesBefore = filesBefore ?? files
            }
            let peak = try bench.peakMemory
            if peak > 256 << 20 { blame(seeds, "the daemon took \(peak >> 20) MiB") }
            try bench.unmount()
            let last = try bench.shell("sleep 1; holdfast backend gc --days 0 --config c.toml")
            if last.status != 0 { blame(seeds, "\(last)") }
            let uploads = try bench.bucket?.unfinishedUploads() ?? []
            if !uploads.isEmpty { blame(seeds, "uploads that nobody ends: \(uploads)") }
            let objects = try bench.backendFiles
            if objects.count != 2 * registered { blame(seeds, "\(registered) backups and \(objects)") }
            for backup in try bench.backups {
                let verified = try bench.shell("holdfast verify '\(backup)' --config c.toml")
                if verified.status != 0 { blame(seeds, "\(backup): \(verified)") }
            }
        }

        /// One schedule; what it found wrong.
        private static func run(
            _ schedule: FaultSchedule, _ bench: MountBench, _ lab: LabProxy, _ registered: inout Int
        ) throws -> [String] {
            var problems: [String] = []
            try lab.setLink(roundTrip: schedule.roundTrip, bitsPerSecond: schedule.bitsPerSecond)
            for rule in schedule.rules { try lab.add(rule) }
            let cutting = Monitor(false)
            NativeThread(name: "cuts") {
                for cut in schedule.cuts {
                    Thread.sleep(forTimeInterval: cut.after / .seconds(1))
                    try? lab.setNetwork(cut.network)
                    Thread.sleep(forTimeInterval: cut.length / .seconds(1))
                    try? lab.setNetwork(.working)
                }
                cutting.withLock { $0 = true }
            }.detach()
            let result = try bench.shell(workload(schedule, bench), seconds: limitSeconds)
            cutting.wait { $0 ? () : nil }
            try lab.setNetwork(.working)
            try lab.clearRules()
            try lab.setLink()
            if result.status != 0 { problems.append("\(result)") }
            let isStaged = result.output.contains("staged 0")
            // Not by the command under test alone.
            let rows = try bench.shell("sqlite3 state/catalog.sqlite 'select count(*) from backup'")
            let count = Int(rows.output) ?? -1
            if count != registered + (isStaged ? 1 : 0) {
                problems.append("\(registered) backups before, \(count) now")
            }
            registered = count
            // With the world as it should be everything works at once, also what failed before.
            let name = "d\(schedule.seed).raw"
            var after = "set -e\n"
            if isStaged {
                after += "cmp image-\(schedule.seed) '\(bench.staging)/\(name)'\n"
            } else {
                after += "rm -f '\(bench.staging)/\(name)'; cp image-\(schedule.seed) '\(bench.staging)/\(name)'\n"
                registered += 1
            }
            after += "rm -f image-\(schedule.seed)\n"
            let works = try bench.shell(after, seconds: limitSeconds)
            if works.status != 0 { problems.append("afterwards: \(works); before: \(result.output)") }
            return problems
        }

        /// Stage, read in order, read at random, restore. Ends with 0 unless something that must never be is.
        private static func workload(_ schedule: FaultSchedule, _ bench: MountBench) -> String {
            let image = "image-\(schedule.seed)"
            let disk = "d\(schedule.seed)"
            return """
                python3 - <<'END'
                import os,random,signal,subprocess,sys
                signal.pthread_sigmask(signal.SIG_SETMASK,[])
                r=random.Random(\(schedule.seed))
                good=b''.join(r.choice((bytes(1<<20),r.randbytes(1<<20),r.randbytes(1<<19)+bytes(1<<19))) for i in range(\(schedule.imageMebibytes)-1))+r.randbytes(1000000)
                open('\(image)','wb').write(good)
                staged=subprocess.run(['cp','\(image)','\(bench.staging)/\(disk).raw']).returncode
                print('staged',staged)
                if staged: sys.exit(0)
                def part(f,n,o):
                    try: got=os.pread(f,n,o)
                    except OSError as e: print('read',e.errno); return
                    if got!=good[o:o+n]: sys.exit(f'wrong bytes: {o} {n} {len(got)}')
                f=os.open('\(bench.staging)/\(disk).raw',os.O_RDONLY)
                for o in range(0,len(good),1<<20): part(f,1<<20,o)
                for i in range(20): part(f,r.choice((1,512,4096,70000,1500000)),r.randrange(len(good)))
                os.close(f)
                line=subprocess.run("holdfast list --json --config c.toml | jq -r '.[].backup' | grep '/\(disk)$'",shell=True,capture_output=True,text=True).stdout.split()
                if len(line)!=1: sys.exit(f'listed: {line}')
                restored=subprocess.run(['holdfast','restore',line[0],'out-\(disk)','--config','c.toml']).returncode
                print('restored',restored)
                if os.path.exists('out-\(disk)'):
                    if restored: sys.exit('an image of a restore that failed')
                    if open('out-\(disk)','rb').read()!=good: sys.exit('restored other bytes')
                    os.unlink('out-\(disk)')
                elif not restored: sys.exit('no image of a restore')
                END
                """
        }
    }
}

extension Array {
    fileprivate func chunks(of count: Int) -> [[Element]] {
        stride(from: 0, to: self.count, by: count).map { Array(self[$0..<Swift.min($0 + count, self.count)]) }
    }
}
