"""What benchmarks.sinusoid and benchmarks.sinusoid.speed are made of: protocol, methods, results, figures."""
