"""What each process begins with: configuration, family by name, memory, Spark, exit codes."""
