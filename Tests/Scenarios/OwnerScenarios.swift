import Foundation
import Testing

/// What an unprivileged user of the machine can see: nothing but what the configuration gives to that user.
extension Scenarios {
    @Suite("Owners of orgs, and what is nobody else's", .serialized)
    struct Owners {
        // Numbers without an account: the kernel needs none.
        private static let acme = 61_001
        private static let other = 61_002
        private static let stranger = 65_534

        private static let owners = """
            [orgs.acme]
            uid = \(acme)
            gid = \(acme)
            mode = "0750"
            [orgs.other]
            uid = \(other)
            gid = \(other)
            mode = "0700"
            """

        /// A mount for all users, with a backup of `a.raw` for each org, made by root.
        private func mounted(
            _ orgs: [String] = ["acme", "other"], options: String = "allow_other"
        ) throws -> MountBench {
            let bench = try MountBench(mounts: false, config: Self.owners)
            _ = try bench.makeImage("a.raw", mebibytes: 3)
            for org in orgs where org != "acme" { try bench.run("holdfast keys create \(org) --config c.toml") }
            try bench.startMount(by: "umask 0; SECRET_OF_THE_DAEMON=sesame", options: "-o \(options)")
            for org in orgs {
                try bench.run("mkdir -p mnt/staging/local/\(org)/web && cp a.raw mnt/staging/local/\(org)/web/disk.raw")
            }
            return bench
        }

        private struct User {
            let user: Int
            let group: Int
            /// What a command of theirs starts with.
            var prefix: String { "setpriv --reuid=\(user) --regid=\(group) --clear-groups --" }
        }

        private func user(_ user: Int, group: Int? = nil) -> User { User(user: user, group: group ?? user) }

        /// Tries to open, as the user, what root can open; returns what was not EACCES.
        private func opened(_ paths: [String], by user: User, _ bench: MountBench) throws -> String {
            let probe = """
                import errno,os,sys
                # Not by setpriv: the interpreter may be where that user cannot go.
                user,group=int(sys.argv[1]),int(sys.argv[2])
                os.setgroups([]); os.setresgid(group,group,group); os.setresuid(user,user,user)
                for path in sys.argv[3:]:
                    try:
                        os.close(os.open(path,os.O_RDONLY)); print(path,'opened')
                    except OSError as e:
                        if e.errno!=errno.EACCES: print(path,errno.errorcode[e.errno])
                """
            try probe.write(toFile: bench.folder + "/probe.py", atomically: true, encoding: .utf8)
            let list = paths.map { "'\($0)'" }.joined(separator: " ")
            let byRoot = try bench.run("python3 probe.py 0 0 \(list)").split(separator: "\n")
            #expect(byRoot.count == paths.count && byRoot.allSatisfy { $0.hasSuffix(" opened") }, "\(byRoot)")
            return try bench.run("python3 probe.py \(user.user) \(user.group) \(list)")
        }

        private func secrets(_ bench: MountBench) throws -> [String] {
            let process = "/proc/\(try bench.daemon)"
            return ["environ", "mem", "maps", "fd"].map { process + "/" + $0 } + [
                "keys", "keys/acme.agekey", "state", "state/catalog.sqlite", "state/catalog.sqlite-wal",
                "state/catalog.sqlite-shm", "state/holdfast.log", "backups/acme", "mnt/status.json",
                "mnt/metrics.prom",
            ]
        }

        private func folders(of org: String) -> [String] {
            let (tree, staging) = ("mnt/local/\(org)", "mnt/staging/local/\(org)")
            let files = ["disk.raw", "disk.raw.zst.age", "manifest.json", "SHA256SUMS"]
            return [tree, tree + "/web", tree + "/web/latest"] + files.map { "\(tree)/web/latest/\($0)" }
                + [staging, staging + "/web", staging + "/web/disk.raw", staging + "/web/disk.raw.status"]
        }

        @Test(.timeLimit(.minutes(2)))
        func `another user can open nothing of an org, of its keys, the state and the daemon`() throws {
            let bench = try mounted()
            let closed = try folders(of: "acme") + folders(of: "other") + secrets(bench)
            #expect(try opened(closed, by: user(Self.stranger), bench) == "")
            // One org's user is any other user to the next org.
            #expect(try opened(folders(of: "other") + secrets(bench), by: user(Self.acme), bench) == "")
            // What the command line says, everybody may read.
            let line = try bench.run("\(user(Self.stranger).prefix) cat /proc/\(bench.daemon)/cmdline | tr '\\0' ' '")
            #expect(line.contains("mount") && !line.contains("sesame") && !line.contains("AGE-SECRET-KEY"), "\(line)")
            #expect(try bench.run("\(user(Self.stranger).prefix) ls mnt/local") == "acme\nother", "names are no secret")
        }

        @Test(.timeLimit(.minutes(2)))
        func `an org's user reads its disks and writes its backups, its group reads`() throws {
            let bench = try mounted()
            try bench.run("printf more > more && cat a.raw more > b.raw && chmod 644 a.raw b.raw")
            let latest = "mnt/local/acme/web/latest"
            for words in [user(Self.acme).prefix, user(61_005, group: Self.acme).prefix] {
                try bench.run("\(words) cmp a.raw \(latest)/disk.raw")
                try bench.run("\(words) bash -c 'cd \(latest) && sha256sum -c SHA256SUMS'")
            }
            let (owner, member) = (user(Self.acme).prefix, user(61_005, group: Self.acme).prefix)
            try bench.run("\(owner) cp b.raw mnt/staging/local/acme/web/disk.raw && cmp b.raw \(latest)/disk.raw")
            try bench.run("\(owner) mkdir mnt/staging/local/acme/db")
            try bench.run(
                "\(owner) bash -c 'cd mnt/staging/local/acme/db && cat > .disk.raw && mv .disk.raw disk.raw' < b.raw")
            try bench.run("\(owner) cmp b.raw mnt/local/acme/db/latest/disk.raw")
            #expect(
                try bench.run("stat -c %u:%g:%a mnt/staging/local/acme/db mnt/local/acme/db/latest/disk.raw")
                    == "\(Self.acme):\(Self.acme):750\n\(Self.acme):\(Self.acme):440")
            for (words, action) in [
                (owner, "mkdir mnt/staging/local/third"), (owner, "mkdir mnt/staging/local/other/db"),
                (owner, "cp b.raw mnt/staging/local/other/web/disk.raw"),
                (owner, "rm mnt/staging/local/other/web/disk.raw"),
                (member, "mkdir mnt/staging/local/acme/mail"), (member, "cp b.raw mnt/staging/local/acme/web/disk.raw"),
                (member, "rm mnt/staging/local/acme/web/disk.raw"),
            ] {
                let result = try bench.shell("\(words) \(action)")
                #expect(result.status == 1 && result.output.contains("Permission denied"), "\(action): \(result)")
            }
            #expect(try bench.backups.count == 4)
        }

        @Test(.timeLimit(.minutes(1)))
        func `a mount that lets no owner in says so`() throws {
            for (options, warns) in [("ro", true), ("ro,allow_other", false)] {
                let bench = try MountBench(mounts: false, config: Self.owners)
                let result = try bench.shell("holdfast mount c.toml mnt -o \(options) 2>&1")
                #expect(result.status == 0, "\(result)")
                #expect(result.output.contains("without -o allow_other") == warns, "\(result)")
                try bench.run("umount mnt")
            }
        }

        @Test(.timeLimit(.minutes(2)))
        func `with a umask an org without an owner is closed, and one with an owner stays open to it`() throws {
            let bench = try mounted(["acme", "third"], options: "allow_other,umask=077")
            #expect(try opened(folders(of: "third") + ["mnt", "mnt/local"], by: user(Self.acme), bench) == "")
            try bench.run("\(user(Self.acme).prefix) cmp a.raw mnt/local/acme/web/latest/disk.raw")
            #expect(
                try bench.run("stat -c %a mnt mnt/local/third mnt/local/acme mnt/status.json")
                    == "711\n500\n550\n400")
        }

        @Test(.timeLimit(.minutes(3)), arguments: BenchPlace.usual)
        func `everything in the state folder and beside the keys is its owner's alone, whatever the umask`(
            place: BenchPlace
        ) throws {
            let bench = try MountBench(mounts: false, on: place)
            _ = try bench.makeImage("a.raw", mebibytes: 6)
            // An earlier trace that others could read.
            try bench.run("rm -r state keys; touch boot.trace.partial && chmod 666 boot.trace.partial")
            try bench.run("umask 0; holdfast keys create acme --config c.toml")
            try bench.startMount(by: "umask 0;", options: "-o allow_other,record=boot.trace")
            try bench.run("umask 0; mkdir -p '\(bench.staging)' && cp a.raw '\(bench.staging)/disk.raw'")
            try bench.run("cmp a.raw '\(bench.latest)/disk.raw'")
            try bench.run("umask 0; holdfast restore acme/web/latest restored.raw --config c.toml")
            let found = try bench.run("find state keys restored.raw boot.trace.partial -printf '%m %y %P\\n'")
            for line in found.split(separator: "\n") {
                let words = line.split(separator: " ")
                #expect(words.first == (words.dropFirst().first == "d" ? "700" : "600"), "\(line)")
            }
            var names = ["catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm", "holdfast.log"]
            if place != .directory { names += ["cache/v1/data", "cache/v1/index", "backends/local.json"] }
            for name in names { #expect(found.contains(" f \(name)\n"), "\(name) is not there: \(found)") }
            let others = try opened(
                names.map { "state/" + $0 } + ["state", "restored.raw"], by: user(Self.stranger), bench)
            #expect(others == "")
        }

        @Test(.timeLimit(.minutes(1)))
        func `a state folder that others may read is closed and that is said; one that is not ours alone is refused`()
            throws
        {
            let bench = try MountBench(mounts: false)
            try bench.run("holdfast list --config c.toml && chmod 755 state && chmod 644 state/catalog.sqlite")
            let said = try bench.run("holdfast list --config c.toml")
            #expect(said.contains("state\" was open to others (mode 755); it is 700 now"), "\(said)")
            #expect(said.contains("catalog.sqlite\" was open to others (mode 644); it is 600 now"), "\(said)")
            #expect(try bench.run("stat -c %a state state/catalog.sqlite") == "700\n600")
            #expect(try !bench.run("holdfast list --config c.toml").contains("was open"))
            try bench.run(
                "mkdir -m 755 shared && touch shared/somebodys && sed 's/\"state\"/\"shared\"/' c.toml > d.toml")
            for mode in ["755", "1777"] {
                let refused = try bench.shell("chmod \(mode) shared; holdfast list --config d.toml")
                #expect(refused.status == 9 && refused.output.contains("hint: set `state_dir`"), "\(refused)")
                #expect(
                    try bench.run("stat -c %a shared") == mode && !bench.shell("ls shared").output.contains("catalog"))
            }
        }

        /// Of a process that may be dumped, `/proc/<pid>/environ` belongs to its user; of any other to root (proc(5)).
        @Test(.timeLimit(.minutes(1)))
        func `not even a process of the same user reads a command's memory, and no core is dumped`() throws {
            let bench = try MountBench(mounts: false)
            // CAP_DAC_READ_SEARCH: for the program's own folder may be closed to that user.
            let result = try bench.python(
                """
                import resource,subprocess
                infinite=resource.RLIM_INFINITY
                resource.setrlimit(resource.RLIMIT_CORE,(infinite,infinite))
                user='\(Self.acme)'
                process=subprocess.Popen(['setpriv','--reuid='+user,'--regid='+user,'--clear-groups',
                    '--inh-caps=+dac_read_search','--ambient-caps=+dac_read_search','--','holdfast','keys','import',
                    'third','-'],stdin=subprocess.PIPE)
                folder='/proc/%d/'%process.pid
                limit=lambda: next(l.split()[4:6] for l in open(folder+'limits') if l.startswith('Max core'))
                name=lambda: open(folder+'comm').read().strip()
                for i in range(300):
                    if name()=='holdfast' and limit()==['0','0']: break
                    time.sleep(.02)
                print(name(),limit(),*[os.stat(folder+file).st_uid for file in ('','environ','mem','maps')])
                process.kill(); process.wait()
                """)
            #expect(result.output == "holdfast ['0', '0'] \(Self.acme) 0 0 0", "\(result)")
        }
    }
}
