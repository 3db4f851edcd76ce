"""Starting a process: configuration, families by name, memory, Spark, exit codes; for layers."""
