"""What benchmarks/sinusoid.py and benchmarks/sinusoid_speed.py are made of: protocol, methods, results, figures."""
