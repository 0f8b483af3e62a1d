import Foundation
import TestSupport
import Testing

extension StoreScenarios {
    /// Each way to configure a bucket wrongly: what is wrong is said at once, with the key to change.
    @Suite("A bucket that is configured wrongly", .serialized)
    struct BackendConfigurations {
        /// A line of bash that spoils the configuration; TLS, PLAIN are the server's addresses,
        /// SILENT is that of one that never answers, WEB of one that knows no S3.
        struct Case: Sendable, CustomTestStringConvertible {
            let testDescription: String
            let change: String
            /// What the error and its hint have to name.
            let words: [String]
            /// Of `backend check`; 0 is a configuration that works.
            var status: Int32 = 6
            /// A mount comes about all the same: what is wrong may pass by itself, or nothing is.
            var isMounted = false

            init(
                _ description: String, _ change: String, _ words: [String], status: Int32 = 6,
                isMounted: Bool = false
            ) {
                testDescription = description
                self.change = change
                self.words = words
                self.status = status
                self.isMounted = isMounted
            }
        }

        private static func set(_ key: String, _ value: String) -> String {
            "sed -i 's|^\(key) = .*|\(key) = \"\(value)\"|' c.toml"
        }

        private static let cases = [
            Case("all is right", ":", [], status: 0, isMounted: true),
            Case(
                "a port where nobody is", set("endpoint", "http://127.0.0.1:1"),
                ["endpoint \"http://127.0.0.1:1\" cannot be reached", "`endpoint`"], isMounted: true),
            Case(
                "a name that nobody has", set("endpoint", "http://s3.example.invalid"),
                ["endpoint \"http://s3.example.invalid\" cannot be reached", "resolve", "`endpoint`"], isMounted: true),
            Case(
                "a server that says nothing", set("endpoint", "http://SILENT"),
                ["endpoint \"http://SILENT\"", "no progress"], isMounted: true),
            Case(
                "a server that knows no S3", set("endpoint", "http://WEB"), ["`endpoint`"]),
            Case(
                "no such bucket", set("bucket", "nobody-has-this-one"),
                ["bucket \"nobody-has-this-one\" does not exist", "`bucket`"]),
            Case(
                "no such access key", "sed -i 's|key_id = .*|key_id = NOBODYHASTHISKEY1234|' credentials",
                ["access key", "credentials"]),
            Case(
                "another secret key", "sed -i 's|secret_access_key = .*|secret_access_key = wrong|' credentials",
                ["signature", "secret key"]),
            Case(
                "no such profile", "echo 'profile = \"other\"' >> c.toml", ["credentials\"", "[other]"]),
            Case("credentials that others may read", "chmod 644 credentials", ["credentials\"", "chmod 600"]),
            Case("no credentials", "rm credentials", ["credentials\"", "No such file"]),
            Case("TLS where none is spoken", set("endpoint", "https://PLAIN"), ["endpoint", "http://"]),
            Case(
                "none where TLS is spoken", set("endpoint", "http://TLS"), ["endpoint"], isMounted: true
            ),
            Case(
                "a certificate of an authority that is not known", set("endpoint", "https://TLS"),
                ["endpoint \"https://TLS\"", "certificate", "`ca_file`"]),
            Case(
                "a certificate of another authority",
                set("endpoint", "https://TLS") + "; echo 'ca_file = \"other.pem\"' >> c.toml",
                ["endpoint \"https://TLS\"", "certificate", "`ca_file`"]),
            Case(
                "a certificate of another name",
                set("endpoint", "https://TLS").replacingOccurrences(of: "TLS", with: "localhost:PORT")
                    + "; echo 'ca_file = \"ca.pem\"' >> c.toml",
                ["endpoint \"https://localhost", "certificate"]),
            Case(
                "the right authority", set("endpoint", "https://TLS") + "; echo 'ca_file = \"ca.pem\"' >> c.toml", [],
                status: 0, isMounted: true),
            Case(
                "no file of the authority",
                set("endpoint", "https://TLS") + "; echo 'ca_file = \"none.pem\"' >> c.toml", ["ca_file", "none.pem"]),
            Case(
                "no http:// in the endpoint", set("endpoint", "127.0.0.1:1234"),
                ["c.toml:", "\"backends.local.endpoint\"", "https://HOST"], status: 10),
            Case(
                "no region", "sed -i '/^region/d' c.toml", ["c.toml", "backends.local.region"],
                status: 10),
        ]

        @Test(.timeLimit(.minutes(1)), arguments: cases)
        func `says what it is, where, and what to do, and soon`(fault: Case) throws {
            let server = try S3Server.shared(.ceph)
            let bench = try MountBench(
                mounts: false, on: .ceph,
                bucketSettings: "connect_seconds = 2\nstall_seconds = 2\npatience_seconds = 4")
            try bench.run(Self.certificates)
            let front = try TLSFront(
                to: server.address, certificate: bench.folder + "/server.pem", key: bench.folder + "/server.key")
            defer { front.stop() }
            let silent = try LabProxy(to: server)
            defer { silent.stop() }
            try silent.setNetwork(.dead)
            try bench.start("web", "exec timeout 60 python3 -u -m http.server -b 127.0.0.1 0 > web.out 2>&1")
            try bench.run("timeout 10 bash -c 'until grep -q port web.out; do sleep 0.1; done'")
            let web = try bench.run("grep -o 'port [0-9]*' web.out | cut -d' ' -f2")
            func filled(_ text: String) -> String {
                text.replacingOccurrences(of: "PORT", with: "\(front.port)")
                    .replacingOccurrences(of: "TLS", with: "127.0.0.1:\(front.port)")
                    .replacingOccurrences(of: "PLAIN", with: server.address)
                    .replacingOccurrences(of: "WEB", with: "127.0.0.1:\(web)")
                    .replacingOccurrences(of: "SILENT", with: "127.0.0.1:\(silent.port)")
            }
            try bench.run(filled(fault.change))
            for line in ["backend check --config c.toml", "mount c.toml mnt"] {
                let start = ContinuousClock.now
                let result = try bench.shell("holdfast \(line)")
                #expect(ContinuousClock.now - start < .seconds(8), "\(line)")
                let isMount = line.hasPrefix("mount")
                #expect(result.status == (isMount && fault.isMounted ? 0 : fault.status), "\(line): \(result)")
                #expect(result.output.contains("error: ") == !fault.words.isEmpty, "\(line): \(result)")
                for word in fault.words { #expect(result.output.contains(filled(word)), "\(line): \(result)") }
                #expect(
                    result.output.contains("hint: ") == !fault.words.isEmpty, "\(line): \(result)")
            }
            #expect(try bench.shell("mountpoint -q mnt").status == (fault.isMounted ? 0 : 32))
            if fault.isMounted { try bench.unmount() }
        }

        /// An authority, a certificate of 127.0.0.1 by it, and an authority that has nothing to do with it.
        private static let certificates = """
            for name in ca other; do
                openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=$name" -keyout $name.key -out $name.pem
            done 2> /dev/null
            openssl req -newkey rsa:2048 -nodes -subj /CN=server -keyout server.key -out server.csr 2> /dev/null
            openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out server.pem \
                -extfile <(echo subjectAltName=IP:127.0.0.1) 2> /dev/null
            """

        @Test(.timeLimit(.minutes(1)))
        func `a bucket behind TLS, of an authority of one's own, is a backend like any other`() throws {
            let server = try S3Server.shared(.ceph)
            let bench = try MountBench(mounts: false, on: .ceph, bucketSettings: "ca_file = \"ca.pem\"")
            try bench.run(Self.certificates)
            let front = try TLSFront(
                to: server.address, certificate: bench.folder + "/server.pem", key: bench.folder + "/server.key")
            defer { front.stop() }
            try bench.run(Self.set("endpoint", "https://127.0.0.1:\(front.port)"))
            try bench.startMount()
            _ = try bench.makeImage("a.raw", mebibytes: 12)
            try bench.run(
                """
                mkdir -p '\(bench.staging)' && cp a.raw '\(bench.staging)/disk.raw'
                cmp a.raw '\(bench.latest)/disk.raw' && holdfast verify acme/web/latest --config c.toml
                """)
            try bench.unmount()
            try bench.expectClean(1)
        }

        /// The clock of all that holdfast is, and of nothing else.
        @Test(.timeLimit(.minutes(2)), arguments: [-7, 5])
        func `a clock that is hours off is noticed, and all works`(hours: Int) throws {
            let bench = try MountBench(mounts: false, on: .ceph)
            try bench.run(
                """
                cat > clock.c <<'END'
                #define _GNU_SOURCE
                #include <time.h>
                #include <unistd.h>
                #include <sys/syscall.h>
                int clock_gettime(clockid_t which, struct timespec *now) {
                    int result = syscall(SYS_clock_gettime, which, now);
                    if (which == CLOCK_REALTIME) now->tv_sec += \(hours) * 3600;
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
                """)
            let off = "export LD_PRELOAD=$PWD/clock.so; "
            #expect(try bench.run(off + "holdfast backend check --config c.toml") == "local  usable")
            try bench.run(off + "holdfast mount c.toml mnt")
            _ = try bench.makeImage("a.raw", mebibytes: 12)
            try bench.run(
                """
                mkdir -p '\(bench.staging)' && cp a.raw '\(bench.staging)/disk.raw'
                cmp a.raw '\(bench.latest)/disk.raw' && umount mnt
                """)
            // The date is that of the clock that was there.
            let date = try bench.run("holdfast list --json --config c.toml | grep -o '20[0-9T-]*Z' | head -1")
            let difference = try bench.run(
                """
                shown=$(echo \(date) | sed 's/T\\(..\\)-\\(..\\)-/T\\1:\\2:/')
                echo $(( ($(date +%s) - $(date -ud "$shown" +%s)) / 60 ))
                """)
            #expect(abs((Int(difference) ?? 1_000_000) + hours * 60) < 5, "\(date)")
            try bench.run(off + "holdfast verify acme/web/latest --config c.toml; holdfast backend gc --config c.toml")
            try bench.expectClean(1)
        }
    }
}
