/// A support program of the tests that could not do what it was asked for.
package struct TestSupportError: Error, CustomStringConvertible {
    package let description: String

    init(_ description: String) { self.description = description }
}
