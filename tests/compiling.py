"""Settings with which tests compile quickly."""

ONE_PART = "--xla_cpu_parallel_codegen_split_count=1"
