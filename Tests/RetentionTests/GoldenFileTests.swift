import Testing

@Suite("Golden files of retention", .timeLimit(.minutes(1)))
struct GoldenFileTests {
    @Test(arguments: GoldenFile.all)
    func `a policy, a calendar and backups give exactly what the rules say`(file: GoldenFile) throws {
        let answer = try file.answer()
        #expect(answer == file.expected, "\(file.name):\n\(answer.joined(separator: "\n"))")
    }

    @Test func `there are some forty of them`() {
        #expect(GoldenFile.all.count >= 40)
    }
}
