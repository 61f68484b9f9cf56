"""What a loss takes and returns is checked while JAX traces it: a scalar, and scalars by name."""



