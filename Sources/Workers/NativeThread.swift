import Glibc

/// A thread of ours, which may block, unlike those of Swift's cooperative pool. It ends when its body returns.
package struct NativeThread: Sendable {
    private let handle: pthread_t

    /// Starts a thread. `name` shows in `ps -L` and `perf`; the kernel keeps its first 15 bytes.
    package init(name: String, _ body: @escaping @Sendable () -> Void) {
        let start = Unmanaged.passRetained(Start(name: name, body: body)).toOpaque()
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        // 1 MiB of address space each: our deepest stacks are a few KiB, those of SQLite some tens.
        pthread_attr_setstacksize(&attributes, 1 << 20)
        defer { pthread_attr_destroy(&attributes) }
        var handle = pthread_t()
        let status = pthread_create(
            &handle, &attributes,
            { argument in
                guard let argument else { return nil }
                let start = Unmanaged<Start>.fromOpaque(argument).takeRetainedValue()
                NativeThread.setName(start.name)
                start.body()
                return nil
            }, start)
        precondition(status == 0, "internal error: pthread_create failed with \(status)")
        self.handle = handle
    }

    /// Lets the thread end by itself; it is not joined then.
    package func detach() {
        pthread_detach(handle)
    }

    /// Waits until the thread has ended. Called once for each thread.
    package func join() {
        pthread_join(handle, nil)
    }

    /// Through proc(5), for pthread_setname_np(3) is not in the Glibc module. A thread without its name works as well.
    private static func setName(_ name: String) {
        let descriptor = open("/proc/thread-self/comm", O_WRONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return }
        _ = Array(name.utf8.prefix(15)).withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
        close(descriptor)
    }

    private final class Start: Sendable {
        let name: String
        let body: @Sendable () -> Void
        init(name: String, body: @escaping @Sendable () -> Void) {
            self.name = name
            self.body = body
        }
    }
}
