"""What tests and benchmarks share: pairs of shapes in contact, and checks that return numbers."""
