internal import CCurl

/// libcurl's multi handle. All calls but `wake` come from the driving thread.
final class MultiHandle: Sendable {
    // Safe because: curl_multi_wakeup may be called from any thread; everything else is the driving thread's.
    private nonisolated(unsafe) let handle: UnsafeMutableRawPointer

    /// How long a poll lasts at most, in milliseconds; libcurl's own timers and `wake` end it before.
    private static let pollMilliseconds: Int32 = 1000

    init(connectionLimit: Int) {
        Self.start
        guard let handle = curl_multi_init() else { preconditionFailure("internal error: curl_multi_init failed") }
        self.handle = handle
        _ = holdfast_curl_multi_set_long(handle, CURLMOPT_MAX_HOST_CONNECTIONS, connectionLimit)
        _ = holdfast_curl_multi_set_long(handle, CURLMOPT_MAXCONNECTS, connectionLimit)
        // Each request has a connection of its own: a slow body must not hold up others.
        _ = holdfast_curl_multi_set_long(handle, CURLMOPT_PIPELINING, Int(CURLPIPE_NOTHING))
    }

    deinit { curl_multi_cleanup(handle) }

    func wake() { curl_multi_wakeup(handle) }

    func add(_ easy: UnsafeMutableRawPointer) -> Bool { curl_multi_add_handle(handle, easy) == CURLM_OK }

    func remove(_ easy: UnsafeMutableRawPointer) { curl_multi_remove_handle(handle, easy) }

    func perform() {
        var count: Int32 = 0
        curl_multi_perform(handle, &count)
    }

    func poll() { curl_multi_poll(handle, nil, 0, Self.pollMilliseconds, nil) }

    /// A request that has ended since the last call.
    func nextDone() -> (easy: UnsafeMutableRawPointer, code: CURLcode)? {
        var count: Int32 = 0
        while let message = curl_multi_info_read(handle, &count)?.pointee {
            if message.msg == CURLMSG_DONE, let easy = message.easy_handle { return (easy, message.data.result) }
        }
        return nil
    }

    private static let start: Void = {
        let code = curl_global_init(Int(CURL_GLOBAL_DEFAULT))
        precondition(code == CURLE_OK, "internal error: curl_global_init failed")
    }()
}
