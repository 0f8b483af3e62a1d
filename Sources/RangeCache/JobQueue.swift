/// First in, first out; gives its storage back only in bulk.
struct JobQueue<Job: Sendable>: Sendable {
    private var items: [Job?] = []
    private var head = 0

    var isEmpty: Bool { head == items.count }

    mutating func append(_ job: Job) { items.append(job) }

    mutating func popFirst() -> Job? {
        guard head < items.count else { return nil }
        let job = items[head]
        items[head] = nil
        head += 1
        if head == items.count {
            items.removeAll(keepingCapacity: true)
            head = 0
        }
        return job
    }
}
