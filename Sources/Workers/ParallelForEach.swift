/// Calls `body` for each item, on threads of its own, which may block; returns when all calls have returned.
///
/// For requests to a distant store, where waiting is all there is to do. Items are begun in their order.
package func forEachInParallel<Item: Sendable>(
    _ items: [Item], threadCount: Int, _ body: @escaping @Sendable (Item) -> Void
) {
    guard items.count > 1, threadCount > 1 else { return items.forEach(body) }
    let next = Monitor(0)
    let threads = (0..<min(threadCount, items.count)).map { index in
        NativeThread(name: "parallel-\(index)") {
            while true {
                let taken = next.withLockQuietly { next in
                    defer { next += 1 }
                    return next
                }
                guard taken < items.count else { return }
                body(items[taken])
            }
        }
    }
    for thread in threads { thread.join() }
}
