/// How a store has been doing in this process: for people and `status.json`.
package struct StoreCondition: Sendable, Hashable {
    /// False while nobody answers.
    package var isThere = true
    /// For how long nobody has answered.
    package var awayForSeconds: Int?
    package var requests: UInt64 = 0
    /// Requests that were sent again.
    package var repetitions: UInt64 = 0
    /// Answers that asked for fewer requests.
    package var throttled: UInt64 = 0
    /// How often the store was away.
    package var outages: UInt64 = 0
    /// The last thing that went wrong.
    package var lastProblem: String?
    /// What the store was found to be able to do, by name; empty where there is nothing to find out.
    package var abilities: [String: String] = [:]

    package init() {}
}
